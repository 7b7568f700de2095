//! Which provider cannot run a graph, and why? Asked of its file, before anything is loaded.
//!
//! `scripts/operators.py` finds out what the CPU provider of ONNX Runtime 1.31.1 lacks, by loading a model of every
//! operator alone; with `--check` it compares the tables here with that. What other providers have is listed by
//! `docs/OperatorKernels.md` of ONNX Runtime for CUDA and DirectML, and by `webgpu_contrib_kernels.cc` for WebGPU.
//! A provider without such a list decides when it loads the graph, and is not refused one here.
use super::{
    PROVIDERS, Runtime,
    data_type::{self, BFLOAT16, FLOAT4E2M1, FLOAT8E8M0},
    signature::Signature,
};
use crate::{Error, Result};
use std::{collections::BTreeMap, sync::OnceLock};

/// The library that the tables are of: 1.31.
const LIBRARY: u32 = 31;
/// The newest version of ONNX's operators that it takes, of Microsoft's, and of the format.
const NEWEST_OPSET: i64 = 26;
const NEWEST_MICROSOFT: i64 = 1;
const NEWEST_FORMAT: i64 = 13;

/// Operators of ONNX without a kernel, from this version on.
const ONNX: &[(&str, i64)] = &[
    ("Bernoulli", 22),
    ("DisentangledAttention_TRT", 1),
    ("EfficientNMS_TRT", 1),
    ("GlobalLpPool", 1),
    ("ImageDecoder", 20),
    ("MaxRoiPool", 22),
    ("MultilevelCropAndResize_TRT", 1),
    ("Multinomial", 22),
    ("PyramidROIAlign_TRT", 1),
    ("RandomNormal", 22),
    ("RandomNormalLike", 22),
    ("RandomUniform", 22),
    ("RandomUniformLike", 22),
    ("RoiAlign", 22),
];

/// Operators of `com.microsoft` without a kernel, and the providers that have one. ONNX Runtime's optimiser of
/// transformers writes the first twelve into networks that draw.
#[rustfmt::skip]
const MICROSOFT: &[(&str, &[&str])] = &[
    ("BiasAdd", &["cuda", "directml", "webgpu"]),
    ("BiasSplitGelu", &["cuda", "directml", "webgpu"]),
    ("GroupNorm", &["cuda", "directml"]),
    ("NhwcConv", &["cuda", "directml"]),
    ("SkipGroupNorm", &["cuda"]),
    ("PackedAttention", &["cuda"]),
    ("PackedMultiHeadAttention", &["cuda"]),
    ("GatedRelativePositionBias", &["cuda"]),
    ("RelativePositionBias", &["cuda"]),
    ("RemovePadding", &["cuda"]),
    ("RestorePadding", &["cuda"]),
    ("GemmFloat8", &["cuda"]),
    ("BiasDropout", &["cuda"]),
    ("BiasSoftmax", &["cuda"]),
    ("BitmaskBiasDropout", &["cuda"]),
    ("BitmaskDropout", &["cuda"]),
    ("ComplexMul", &["cuda"]),
    ("ComplexMulConj", &["cuda"]),
    ("DecoderAttention", &["cuda"]),
    ("DecoderMaskedSelfAttention", &["cuda"]),
    ("DequantizeWithOrder", &["cuda"]),
    ("FusedMatMulActivation", &["directml"]),
    ("GemmaRotaryEmbedding", &["cuda"]),
    ("Irfft", &["cuda"]),
    ("LongformerAttention", &["cuda"]),
    ("PagedAttention", &["cuda"]),
    ("QOrderedAttention", &["cuda"]),
    ("QOrderedGelu", &["cuda"]),
    ("QOrderedLayerNormalization", &["cuda"]),
    ("QOrderedLongformerAttention", &["cuda"]),
    ("QOrderedMatMul", &["cuda"]),
    ("QuantizeWithOrder", &["cuda"]),
    ("Rfft", &["cuda"]),
];

/// Operators of ONNX without a kernel for these types.
const NOT_OF_TYPE: &[(&str, &[i32])] = &[
    ("Add", &[BFLOAT16]),
    ("Attention", &[BFLOAT16]),
    ("Cast", &[FLOAT4E2M1]),
    ("Conv", &[BFLOAT16]),
    ("ConvTranspose", &[BFLOAT16]),
    ("DequantizeLinear", &[BFLOAT16, FLOAT4E2M1, FLOAT8E8M0]),
    ("Div", &[BFLOAT16]),
    ("Erf", &[BFLOAT16]),
    ("Gelu", &[BFLOAT16]),
    ("Gemm", &[BFLOAT16]),
    ("GroupNormalization", &[BFLOAT16]),
    ("InstanceNormalization", &[BFLOAT16]),
    ("MatMul", &[BFLOAT16]),
    ("Mul", &[BFLOAT16]),
    ("Pow", &[BFLOAT16]),
    ("QuantizeLinear", &[BFLOAT16, FLOAT8E8M0]),
    ("RMSNormalization", &[BFLOAT16]),
    ("Resize", &[BFLOAT16]),
    ("RotaryEmbedding", &[BFLOAT16]),
    ("Sigmoid", &[BFLOAT16]),
    ("Softmax", &[BFLOAT16]),
    ("Sub", &[BFLOAT16]),
    ("Tanh", &[BFLOAT16]),
    ("Transpose", &[FLOAT4E2M1, FLOAT8E8M0]),
    ("Where", &[BFLOAT16]),
];

/// Providers whose operators are known: each has those of its list, and leaves the others to the CPU.
const LISTED: [&str; 5] = ["cpu", "xnnpack", "cuda", "directml", "webgpu"];
/// Providers that hand graphs to TensorRT.
const TENSORRT: [&str; 2] = ["tensorrt", "nvrtx"];

/// How the domains begin that the library has operators for.
const DOMAINS: [&str; 4] = ["ai.onnx", "com.microsoft", "com.ms.internal", "org.pytorch.aten"];

/// Names in one message: enough to know what it is about.
const MOST_NAMES: usize = 8;

/// Something that keeps a graph from running on a provider.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Obstacle {
    /// What the graph has or is, to be read after its name.
    pub(crate) what: String,
    /// The heart of it, the same for every provider with this obstacle.
    pub(crate) why: String,
    /// What to do.
    pub(crate) hint: String,
}

/// Fails if the provider called `provider` is known not to run the graph of `signature`, which messages call `name`.
/// `library` is the minor version of ONNX Runtime, if known.
pub(crate) fn check(name: &str, signature: &Signature, provider: &str, library: Option<u32>) -> Result<()> {
    match obstacles(signature, provider, library).into_iter().next() {
        None => Ok(()),
        Some(Obstacle { what, hint, .. }) => Err(Error::model(format!("`{name}` {what}"), hint)),
    }
}

/// Everything that is known to keep the graph from running on a provider.
pub(crate) fn obstacles(signature: &Signature, provider: &str, library: Option<u32>) -> Vec<Obstacle> {
    let found = [too_new(signature, library), foreign(signature, provider), lacking(signature, provider, library)];
    found.into_iter().flatten().collect()
}

/// The minor version of the library that `runtime` is.
pub(crate) fn library_of(runtime: &Runtime) -> Option<u32> {
    static VERSION: OnceLock<Option<u32>> = OnceLock::new(); // there is one library in a process
    *VERSION.get_or_init(|| ort::util::probe(&runtime.library))
}

/// A format or a set of operators newer than the library: 1.24 takes opset 25, 1.25 to 1.31 take 26.
fn too_new(signature: &Signature, library: Option<u32>) -> Option<Obstacle> {
    let library = library.unwrap_or(LIBRARY);
    if library > LIBRARY {
        return None;
    }
    let opset = if library <= 24 { NEWEST_OPSET - 1 } else { NEWEST_OPSET };
    let limits = [("ai.onnx", "opset", opset), ("com.microsoft", "com.microsoft opset", NEWEST_MICROSOFT)];
    let opsets = limits.iter().filter_map(|(domain, what, newest)| {
        signature.opsets.get(*domain).filter(|version| *version > newest).map(|version| (*what, *version, *newest))
    });
    let format = Some(("format (IR)", signature.format, NEWEST_FORMAT)).filter(|(_, version, newest)| version > newest);
    let (what, version, newest) = opsets.chain(format).next()?;
    let why = format!("{what} {version}, and ONNX Runtime 1.{library} takes none above {newest}");
    Some(Obstacle {
        what: format!("is of {why}"),
        why,
        hint: format!("export the model with {what} {newest}, or give a newer library with `--onnxruntime PATH`"),
    })
}

/// Operators that no ONNX Runtime has without a library of them: TensorRT's and those of unknown domains.
fn foreign(signature: &Signature, provider: &str) -> Option<Obstacle> {
    if TENSORRT.contains(&provider) {
        return None;
    }
    let mut of_tensorrt = BTreeMap::new();
    let mut unknown = BTreeMap::new();
    for ((domain, name), count) in &signature.operators {
        if is_of_tensorrt(domain, name) {
            of_tensorrt.insert(format!("{domain}.{name}"), *count);
        } else if !DOMAINS.iter().any(|known| domain.starts_with(known)) {
            unknown.insert(format!("{domain}.{name}"), *count);
        }
    }
    if !of_tensorrt.is_empty() {
        let why = list(&of_tensorrt);
        return Some(Obstacle {
            what: format!("is made for TensorRT, the provider `{provider}` lacks its operators: {why}"),
            why,
            hint: "use `--ep tensorrt` or `--ep nvrtx`, or another export of the model".into(),
        });
    }
    let why = list(&unknown);
    (!unknown.is_empty()).then(|| Obstacle {
        what: format!("has operators that are no part of ONNX Runtime: {why}"),
        why,
        hint: "export the model without operators of one's own; petal loads no libraries of them".into(),
    })
}

fn is_of_tensorrt(domain: &str, name: &str) -> bool {
    domain == "trt" || domain.starts_with("trt.") || domain.starts_with("com.nvidia") || name.starts_with("TRT_")
}

/// Operators of ONNX Runtime that the provider lacks, and the CPU too.
fn lacking(signature: &Signature, provider: &str, library: Option<u32>) -> Option<Obstacle> {
    if !LISTED.contains(&provider) || library.is_some_and(|library| library > LIBRARY) {
        return None;
    }
    let names = names_lacking(signature, provider);
    if names.is_empty() {
        return None;
    }
    let can = |other: &&str| names_lacking(signature, other).is_empty();
    let others = PROVIDERS.iter().map(|provider| provider.name).filter(|name| LISTED.contains(name)).filter(can);
    let others: Vec<_> = others.map(|name| format!("`--ep {name}`")).collect();
    let (portable, why) = ("an export for any device, as scripts/export.py writes it", list(&names));
    Some(Obstacle {
        what: format!("has operators that the provider `{provider}` lacks: {why}"),
        why,
        hint: match others[..] {
            [] => format!("use {portable}"),
            _ => format!("use {}, or {portable}", others.join(" or ")),
        },
    })
}

/// How often each operator stands in the graph that a listed provider and the CPU lack.
fn names_lacking(signature: &Signature, provider: &str) -> BTreeMap<String, u64> {
    let opset = signature.opsets.get("ai.onnx").copied().unwrap_or(0);
    let mut found = BTreeMap::new();
    for ((domain, name), count) in &signature.operators {
        let lacks = match &**domain {
            "ai.onnx" => ONNX.iter().any(|(op, since)| op == name && opset >= *since),
            // an engine of another provider, in the form of a graph
            "com.microsoft" if name == "EPContext" => true,
            "com.microsoft" => MICROSOFT.iter().any(|(op, have)| op == name && !have.contains(&provider)),
            _ => false,
        };
        if lacks {
            found.insert(format!("{domain}.{name}"), *count);
        }
    }
    for ((name, data_type), count) in &signature.operands {
        let lacks = NOT_OF_TYPE.iter().any(|(op, types)| op == name && types.contains(data_type));
        if lacks && (provider != "cuda" || *data_type == FLOAT4E2M1) {
            found.insert(format!("{name} of {}", data_type::name(*data_type)), *count);
        }
    }
    found
}

/// The commonest names with how often they occur.
fn list(names: &BTreeMap<String, u64>) -> String {
    let mut sorted: Vec<_> = names.iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let more = sorted.len().saturating_sub(MOST_NAMES);
    let texts: Vec<_> = sorted.iter().take(MOST_NAMES).map(|(name, count)| format!("{name} ({count})")).collect();
    texts.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(opset: i64, operators: &[(&str, &str, u64)]) -> Signature {
        let mut signature = Signature { format: 8, ..Signature::default() };
        signature.opsets = BTreeMap::from([("ai.onnx".into(), opset), ("com.microsoft".into(), 1)]);
        for (domain, name, count) in operators {
            signature.operators.insert(((*domain).into(), (*name).into()), *count);
        }
        signature
    }

    fn refused(signature: &Signature, provider: &str) -> Option<(String, String)> {
        let error = check("unet/model.onnx", signature, provider, Some(31)).err()?;
        Some((error.to_string(), error.hint().unwrap()))
    }

    #[test]
    fn operators_for_gpus_are_named_with_where_they_run() {
        let operators =
            [("com.microsoft", "GroupNorm", 61), ("com.microsoft", "NhwcConv", 98), ("ai.onnx", "MatMul", 7)];
        let signature = graph(18, &operators);
        let (what, hint) = refused(&signature, "cpu").unwrap();
        let wanted = "`unet/model.onnx` has operators that the provider `cpu` lacks: com.microsoft.NhwcConv (98), \
                      com.microsoft.GroupNorm (61)";
        assert_eq!(what, wanted);
        assert!(hint.starts_with("use `--ep cuda` or `--ep directml`, or an export"), "{hint}");
        assert!(refused(&signature, "webgpu").is_some() && refused(&signature, "xnnpack").is_some());
        for provider in ["cuda", "directml", "openvino", "tensorrt", "migraphx"] {
            assert_eq!(refused(&signature, provider), None, "{provider}");
        }
        // a newer library may have them
        assert!(check("m", &signature, "cpu", Some(LIBRARY + 1)).is_ok());
    }

    #[test]
    fn what_every_provider_has_is_refused_by_none() {
        let operators =
            [("ai.onnx", "Attention", 9), ("com.microsoft", "MultiHeadAttention", 9), ("ai.onnx", "Swish", 1)];
        for provider in PROVIDERS {
            assert_eq!(refused(&graph(24, &operators), provider.name), None, "{}", provider.name);
        }
    }

    #[test]
    fn random_numbers_have_no_kernel_from_opset_22_on() {
        let operators = [("ai.onnx", "RandomNormalLike", 1)];
        assert_eq!(refused(&graph(21, &operators), "cpu"), None);
        assert!(refused(&graph(22, &operators), "cpu").unwrap().0.contains("ai.onnx.RandomNormalLike (1)"));
    }

    #[test]
    fn types_without_kernels_are_named() {
        let mut signature = graph(18, &[("ai.onnx", "MatMul", 224)]);
        signature.operands.insert(("MatMul".into(), BFLOAT16), 200);
        let (what, hint) = refused(&signature, "cpu").unwrap();
        assert!(
            what.ends_with("lacks: MatMul of bfloat16 (200)") && hint.starts_with("use `--ep cuda`, or"),
            "{what} {hint}"
        );
        assert_eq!(refused(&signature, "cuda"), None);
        signature.operands = BTreeMap::from([(("DequantizeLinear".into(), FLOAT4E2M1), 1)]);
        assert!(refused(&signature, "cuda").unwrap().1.starts_with("use an export for any device"));
    }

    #[test]
    fn operators_of_tensorrt_and_of_nobody_are_told_apart() {
        let of_tensorrt = graph(18, &[("trt", "TRT_FP8QuantizeLinear", 5), ("ai.onnx", "MatMul", 5)]);
        let (what, hint) = refused(&of_tensorrt, "cuda").unwrap();
        assert!(what.contains("made for TensorRT") && what.ends_with("trt.TRT_FP8QuantizeLinear (5)"), "{what}");
        assert!(hint.contains("--ep nvrtx"), "{hint}");
        assert_eq!(refused(&of_tensorrt, "nvrtx"), None);
        let (what, _) = refused(&graph(18, &[("my.own", "Thing", 2)]), "cuda").unwrap();
        assert!(what.ends_with("no part of ONNX Runtime: my.own.Thing (2)"), "{what}");
    }

    #[test]
    fn what_is_too_new_for_the_library_is_said() {
        let refuses =
            |opset, library| check("m", &graph(opset, &[]), "cpu", library).err().map(|error| error.to_string());
        assert_eq!(refuses(26, Some(31)), None);
        assert_eq!(refuses(26, None), None);
        let what = refuses(27, Some(31)).unwrap();
        assert_eq!(what, "`m` is of opset 27, and ONNX Runtime 1.31 takes none above 26");
        assert!(refuses(26, Some(24)).unwrap().ends_with("1.24 takes none above 25"));
        assert_eq!(refuses(99, Some(32)), None); // unknown what it takes
        let newer = Signature { format: 14, ..graph(18, &[]) };
        assert!(refused(&newer, "cpu").unwrap().0.contains("format (IR) 14"));
    }

    /// A long list is cut, the commonest first.
    #[test]
    fn the_commonest_come_first() {
        let names: BTreeMap<String, u64> = (0..10).map(|i| (format!("n{i}"), i)).collect();
        assert_eq!(list(&names), "n9 (9), n8 (8), n7 (7), n6 (6), n5 (5), n4 (4), n3 (3), n2 (2) and 2 more");
    }
}
