//! Files made by hand, field by field, and the tiny models.
use super::*;
use std::{
    io::{SeekFrom, Write as _},
    path::PathBuf,
    time::Instant,
};

/// A field that holds bytes.
fn field(number: u64, bytes: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

/// A field that holds a number.
fn number(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn node(domain: &str, op: &str, attributes: &[Vec<u8>]) -> Vec<u8> {
    let attributes: Vec<u8> = attributes.iter().flat_map(|attribute| field(5, attribute)).collect();
    [field(1, b"x"), field(2, b"y"), field(4, op.as_bytes()), attributes, field(7, domain.as_bytes())].concat()
}

/// A `ValueInfoProto` of this type, with axes that are numbers, names or (empty) nothing.
fn port(name: &str, data_type: u64, axes: &[&str]) -> Vec<u8> {
    let dimension = |text: &&str| match text.parse::<i64>() {
        Ok(length) => field(1, &number(1, length as u64)),
        Err(_) if text.is_empty() => field(1, &[]),
        Err(_) => field(1, &field(2, text.as_bytes())),
    };
    let shape: Vec<u8> = axes.iter().flat_map(dimension).collect();
    let tensor = [number(1, data_type), field(2, &shape)].concat();
    [field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat()
}

fn weight(name: &str, data_type: u64, axes: &[u64], rest: &[u8]) -> Vec<u8> {
    let axes: Vec<u8> = axes.iter().flat_map(|axis| number(1, *axis)).collect();
    [axes, number(2, data_type), field(8, name.as_bytes()), rest.to_vec()].concat()
}

fn entry(key: &str, value: &str) -> Vec<u8> {
    field(13, &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat())
}

/// A file with something of everything.
fn file() -> Vec<u8> {
    let inner =
        [field(1, &node("", "Relu", &[])), field(5, &weight("inner", 1, &[2], &[0x4a, 8, 0, 0, 0, 0, 0, 0, 0, 0]))];
    let branch = [field(1, b"then_branch"), field(6, &inner.concat())].concat();
    let outside = [entry("location", "weights.bin"), entry("offset", "64"), entry("length", "24")].concat();
    let packed = [field(1, &[2, 3]), number(2, 16), field(8, b"packed"), field(9, &[0; 12])].concat();
    let graph = [
        field(1, &node("", "If", &[branch])),
        field(1, &node("com.microsoft", "GroupNorm", &[])),
        field(1, &node("ai.onnx", "Relu", &[])),
        field(1, &node("mine", "Twice", &[])),
        field(5, &weight("w", 1, &[2, 3], &outside)),
        field(5, &packed),
        field(11, &port("sample", 1, &["batch", "4", "", "-1"])),
        field(11, &port("w", 1, &["2", "3"])),
        field(11, &port("mask", 9, &[])),
        field(12, &port("out", 16, &["batch"])),
    ];
    let function = [field(1, b"Twice"), field(10, b"mine"), field(7, &node("", "Add", &[])), field(9, &opset("", 21))];
    [
        number(1, 3),
        field(2, b"pytorch"),
        field(3, b"2.4"),
        field(7, &graph.concat()),
        field(8, &opset("", 18)),
        field(8, &opset("com.microsoft", 1)),
        field(25, &function.concat()),
    ]
    .concat()
}

fn opset(domain: &str, version: u64) -> Vec<u8> {
    [field(1, domain.as_bytes()), number(2, version)].concat()
}

fn model(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/models").join(name)
}

#[test]
fn a_file_says_what_is_in_it() {
    let found = Signature::of_bytes("m", &file()).unwrap();
    let shapes: Vec<_> = found.inputs.iter().map(|input| (&*input.name, input.shape_text())).collect();
    // `w` is a weight, although it is listed
    assert_eq!(shapes, [("sample", "[batch, 4, ?, ?]".into()), ("mask", "[]".into())]);
    assert_eq!(found.inputs[0].port().axes, [None, Some(4), None, None]);
    assert_eq!((found.inputs[1].data_type, found.outputs[0].data_type), (9, 16));
    assert_eq!((found.format, &*found.producer, &*found.producer_version), (3, "pytorch", "2.4"));
    let opsets: Vec<_> = found.opsets.iter().map(|(domain, version)| (&**domain, *version)).collect();
    assert_eq!(opsets, [("ai.onnx", 21), ("com.microsoft", 1)]);
    let operators: Vec<_> = found.operators.iter().map(|((domain, op), count)| (&**domain, &**op, *count)).collect();
    let wanted =
        [("ai.onnx", "Add", 1), ("ai.onnx", "If", 1), ("ai.onnx", "Relu", 2), ("com.microsoft", "GroupNorm", 1)];
    assert_eq!(operators, wanted);
    assert_eq!(found.functions, BTreeMap::from([(("mine".into(), "Twice".into()), 1)]));
    let floats = Tally { tensors: 2, values: 8, bytes: 32 };
    assert_eq!(found.weights, BTreeMap::from([(1, floats), (16, Tally { tensors: 1, values: 6, bytes: 12 })]));
    assert_eq!(found.all_weights(), Tally { tensors: 3, values: 14, bytes: 44 });
    let outside = WeightFile { tensors: 1, bytes: 24, end: 88 };
    assert_eq!(found.weight_files, BTreeMap::from([("weights.bin".into(), outside)]));
}

/// The second input of `MatMul` is a weight of bfloat16, as is one in a graph within; the weight comes after the nodes.
#[test]
fn operators_on_rare_types_are_counted() {
    let given = |op: &str, inputs: &[&str]| {
        let inputs: Vec<u8> = inputs.iter().flat_map(|input| field(1, input.as_bytes())).collect();
        [inputs, field(4, op.as_bytes())].concat()
    };
    let inner = field(1, &given("Mul", &["scale", "w"]));
    let graph = [
        field(1, &given("MatMul", &["x", "w"])),
        field(1, &given("MatMul", &["w", "w"])),
        field(1, &given("Add", &["x", "b"])),
        field(1, &node("", "If", &[field(6, &inner)])),
        field(5, &weight("w", 16, &[2], &[])),
        field(5, &weight("b", 1, &[2], &[])),
        field(11, &port("scale", 24, &[])),
    ];
    let found = Signature::of_bytes("m", &field(7, &graph.concat())).unwrap().operands;
    let wanted = [(("MatMul".into(), 16), 2), (("Mul".into(), 16), 1), (("Mul".into(), 24), 1)];
    assert_eq!(found, BTreeMap::from(wanted));
}

#[test]
fn an_export_says_the_same_from_a_file_and_from_memory() {
    let path = model("sd1/unet/model.onnx");
    let found = Signature::read(&path).unwrap();
    assert_eq!(found, Signature::of_bytes("m", &std::fs::read(path).unwrap()).unwrap());
    let inputs: Vec<_> = found.inputs.iter().map(|input| &*input.name).collect();
    assert_eq!(inputs, ["sample", "timestep", "encoder_hidden_states"]);
    assert_eq!(found.inputs[0].port().axes, [None, Some(4), None, None]);
    assert_eq!(found.outputs[0].name, "out_sample");
    assert_eq!(found.operators[&("ai.onnx".into(), "InstanceNormalization".into())], 21);
    assert!(found.weight_files.contains_key("model.onnx_data"), "{:?}", found.weight_files);
}

/// What is no ONNX file is said to be none, and why.
#[test]
fn other_files_are_named() {
    for (bytes, words) in [
        (&b"not a graph"[..], "no known kind"),
        (b"", "no graph"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"),
        (b"\x20\0\0\0ORTM....", "own format"),
        (&file()[..200], "is cut off"),
    ] {
        let error = Signature::of_bytes("m", bytes).unwrap_err();
        assert!(matches!(error, Error::Model { .. }) && error.to_string().starts_with("`m` is"), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    assert!(matches!(Signature::read(Path::new("no/such.onnx")), Err(Error::Io { .. })));
}

/// Every cut, every wrong byte, and thousands of bytes out of place are an error or another file, never a panic.
#[test]
fn broken_bytes_are_no_danger() {
    let good = [file(), std::fs::read(model("sd1/text_encoder/model.onnx")).unwrap()];
    let mut random = 1_u64;
    let mut next = move |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    let mut errors = 0;
    for bytes in &good {
        for place in (0..bytes.len()).step_by(bytes.len() / 500 + 1) {
            errors += usize::from(Signature::of_bytes("m", &bytes[..place]).is_err());
        }
        for _ in 0..5000 {
            let mut bad = bytes.clone();
            for _ in 0..=next(3) {
                let place = next(bad.len());
                match next(3) {
                    0 => bad[place] = next(256) as u8,
                    1 => bad[place] = 0xff,
                    _ => drop(bad.splice(place..(place + 9).min(bytes.len()), [0xff; 8].into_iter().chain([1]))),
                }
            }
            errors += usize::from(Signature::of_bytes("m", &bad).is_err());
        }
    }
    assert!(errors > 1000, "{errors}");
}

#[test]
fn graphs_within_graphs_have_an_end() {
    let mut graph = field(1, &node("", "Relu", &[]));
    for depth in 1..200 {
        graph = field(1, &node("", "If", &[field(6, &graph)]));
        let read = Signature::of_bytes("m", &field(7, &graph));
        assert_eq!(read.is_ok(), depth <= DEEPEST, "{depth}");
    }
}

/// A shape may claim more values than there are numbers, and a file more weights than it has.
#[test]
fn numbers_that_cannot_be_are_held_at_the_largest() {
    let outside = [entry("location", "w"), entry("offset", "18446744073709551615"), entry("length", "7")].concat();
    let graph = [field(5, &weight("a", 1, &[u64::MAX, 3], &[])), field(5, &weight("b", 1, &[1], &outside))].concat();
    let found = Signature::of_bytes("m", &field(7, &graph)).unwrap();
    assert_eq!(found.all_weights().bytes, u64::MAX);
    assert_eq!(found.weight_files["w"].end, u64::MAX);
}

/// The weights are passed over: a file of 1.5 GB, most of it a hole, is read as fast as one without them.
#[cfg(unix)]
#[test]
fn weights_are_not_read() {
    const PIECES: u64 = 50;
    const BYTES: u64 = 30 << 20;
    let mut file = tempfile::tempfile().unwrap();
    let heads: Vec<_> = (0..PIECES).map(|i| weight(&format!("w{i}"), 1, &[BYTES / 4], &[])).collect();
    let payload = [varint(9 << 3 | 2), varint(BYTES)].concat();
    let lengths: Vec<_> = heads.iter().map(|head| (head.len() + payload.len()) as u64 + BYTES).collect();
    let keys: Vec<_> = lengths.iter().map(|length| [varint(5 << 3 | 2), varint(*length)].concat()).collect();
    let whole = lengths.iter().sum::<u64>() + keys.iter().map(Vec::len).sum::<usize>() as u64;
    file.write_all(&[number(1, 8), varint(7 << 3 | 2), varint(whole)].concat()).unwrap();
    for (key, head) in keys.iter().zip(&heads) {
        file.write_all(&[&**key, head, &payload].concat()).unwrap();
        file.seek(SeekFrom::Current(BYTES as i64)).unwrap();
    }
    let length = file.stream_position().unwrap();
    file.set_len(length).unwrap();
    let mut seconds = f64::INFINITY;
    for _ in 0..5 {
        file.rewind().unwrap();
        let mut read = 0;
        let begun = Instant::now();
        let found = Signature::decode(BufReader::new(Counted { file: &file, read: &mut read }), length).unwrap();
        seconds = seconds.min(begun.elapsed().as_secs_f64()); // others use the machine, too
        assert_eq!(found.all_weights(), Tally { tensors: PIECES, values: PIECES * BYTES / 4, bytes: PIECES * BYTES });
        assert!(length > 1_500_000_000 && read < 1_000_000, "{read} of {length} bytes");
    }
    assert!(seconds < 0.05, "{seconds} s");
}

/// A file that counts what is read of it.
struct Counted<'a> {
    file: &'a File,
    read: &'a mut usize,
}

impl io::Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        *self.read += read;
        Ok(read)
    }
}

impl Seek for Counted<'_> {
    fn seek(&mut self, place: SeekFrom) -> io::Result<u64> {
        self.file.seek(place)
    }
}
