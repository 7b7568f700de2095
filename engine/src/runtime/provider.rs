//! The ways in which ONNX Runtime can use a device.
use crate::{Error, Result, error::unknown};
use ort::ep::{self, ExecutionProvider, ExecutionProviderDispatch};
use std::fmt;

/// A way for ONNX Runtime to use a device.
#[derive(Debug)]
pub struct Provider {
    /// The name used on the command line.
    pub name: &'static str,
    /// ONNX Runtime's name for it.
    pub id: &'static str,
    /// One line for `petal list providers`.
    pub about: &'static str,
    /// The file that it comes in: part of ONNX Runtime's own library, a file beside it, or a plugin.
    pub library: &'static str,
    /// How to get it, as a sentence that starts with a verb.
    pub remedy: &'static str,
    /// Whether `auto` may choose it: it is known to be faster than the CPU where it starts.
    pub automatic: bool,
    /// Whether its devices have numbers.
    numbered: bool,
    /// Makes it for the device with this number; `None` for the CPU, which is always there, and for those that are
    /// plugins only.
    make: fn(i32) -> Option<ExecutionProviderDispatch>,
}

macro_rules! provider {
    ($name:literal, $id:expr, $automatic:literal, $numbered:literal, $about:literal, $library:literal, $remedy:literal, $make:expr) => {
        Provider {
            name: $name,
            id: $id,
            about: $about,
            library: $library,
            remedy: $remedy,
            automatic: $automatic,
            numbered: $numbered,
            make: $make,
        }
    };
}

/// Every provider, in the order in which `auto` tries those of them that it may choose. To add one, write a line here and
/// name its `ort` feature.
#[rustfmt::skip]
pub const PROVIDERS: &[Provider] = &[
    // TF32 is off because pictures must equal the reference's.
    provider!("cuda", ep::CUDA::NAME, true, true, "NVIDIA GPUs",
        "onnxruntime_providers_cuda", "run `petal runtime install cuda`",
        |d| Some(ep::CUDA::default().with_device_id(d).with_tf32(false).build())),
    provider!("tensorrt", ep::TensorRT::NAME, false, true, "NVIDIA GPUs through TensorRT",
        "onnxruntime_providers_tensorrt", "run `petal runtime install cuda`, and install TensorRT 10",
        |d| Some(ep::TensorRT::default().with_device_id(d).build())),
    provider!("nvrtx", ep::NVRTX::NAME, false, true, "NVIDIA GPUs through TensorRT-RTX; a plugin",
        "onnxruntime_providers_nv_tensorrt_rtx", "run `petal runtime install tensorrt-rtx`",
        |d| Some(ep::NVRTX::default().with_device_id(d as u32).build())),
    provider!("directml", ep::DirectML::NAME, true, true, "any GPU on Windows",
        "DirectML.dll", "run `petal runtime install directml` (Windows only)",
        |d| Some(ep::DirectML::default().with_device_id(d).build())),
    provider!("coreml", ep::CoreML::NAME, false, false, "Apple devices",
        "libonnxruntime.dylib", "use the library that petal installs on macOS",
        |_| Some(ep::CoreML::default().build())),
    provider!("webgpu", ep::WebGPU::NAME, false, true, "any GPU through Vulkan, Metal or Direct3D 12; a plugin",
        "onnxruntime_providers_webgpu", "run `petal runtime install webgpu`",
        |d| Some(ep::WebGPU::default().with_device_id(d).build())),
    provider!("openvino", ep::OpenVINO::NAME, false, false, "Intel processors and GPUs; a plugin",
        "onnxruntime_providers_openvino", "run `petal runtime install openvino`",
        |_| Some(ep::OpenVINO::default().build())),
    provider!("mlx", "MLXExecutionProvider", false, false, "Apple GPUs through MLX; a plugin",
        "onnxruntime_providers_mlx", "run `petal runtime install mlx` (macOS on Apple silicon only)",
        |_| None),
    provider!("qnn", ep::QNN::NAME, false, false, "Qualcomm processors; a plugin",
        "onnxruntime_providers_qnn", "name the library of a plugin with `--ep-library qnn=PATH`",
        |_| Some(ep::QNN::default().build())),
    provider!("migraphx", ep::MIGraphX::NAME, false, true, "AMD GPUs on Linux",
        "onnxruntime_providers_migraphx", "name the MIGraphX build of ONNX Runtime with `--onnxruntime`, and install ROCm",
        |d| Some(ep::MIGraphX::default().with_device_id(d).build())),
    provider!("xnnpack", ep::XNNPACK::NAME, false, false, "ARM and x86 processors through XNNPACK",
        "onnxruntime", "build ONNX Runtime with `--use_xnnpack`",
        |_| Some(ep::XNNPACK::default().build())),
    provider!("cpu", ep::CPU::NAME, true, false, "any processor; always there",
        "onnxruntime", "use another library of ONNX Runtime", |_| None),
];

/// The provider of everything that nothing else runs.
pub(super) const CPU: &Provider = &PROVIDERS[PROVIDERS.len() - 1];

/// A provider, and the number of the device it shall use.
#[derive(Clone, Copy, Debug)]
pub struct ProviderChoice {
    /// The provider.
    pub provider: &'static Provider,
    /// The device's number, from 0.
    pub device: i32,
    /// Whether it must run the whole graph: ONNX Runtime may leave it nothing but the arithmetic of shapes to the CPU.
    pub strict: bool,
}

impl PartialEq for ProviderChoice {
    fn eq(&self, other: &Self) -> bool {
        (self.provider.name, self.device) == (other.provider.name, other.device)
    }
}

impl ProviderChoice {
    /// Reads the name of a provider and of its device: `cpu`, `cuda`, `cuda:1`. For `auto` gives every provider to try, in
    /// order, each of which may leave nodes to the CPU.
    pub fn parse(text: &str) -> Result<Vec<Self>> {
        let (name, number) = text.split_once(':').map_or((text, None), |(name, number)| (name, Some(number)));
        if name.eq_ignore_ascii_case("auto") && number.is_none() {
            let automatic = PROVIDERS.iter().filter(|provider| provider.automatic);
            return Ok(automatic.map(|provider| Self { provider, device: 0, strict: false }).collect());
        }
        let names = PROVIDERS.iter().map(|provider| provider.name).chain(["auto"]);
        let provider = PROVIDERS.iter().find(|provider| provider.name.eq_ignore_ascii_case(name));
        let provider = provider.ok_or_else(|| match name {
            "auto" => Error::request("`auto` takes no device number", "name a provider, as in `cuda:1`"),
            _ => unknown("provider", name, names),
        })?;
        let device =
            number.unwrap_or("0").parse().ok().filter(|number| *number >= 0 && (*number == 0 || provider.numbered));
        let device = device.ok_or_else(|| {
            Error::request(
                format!("`{text}` does not name a device"),
                if provider.numbered {
                    "write a number from 0, as in `cuda:1`"
                } else {
                    "leave out the number; it has one device"
                },
            )
        })?;
        Ok(vec![Self { provider, device, strict: true }])
    }

    /// The CPU, which runs every graph that ONNX Runtime can run at all.
    pub(crate) fn cpu() -> Self {
        Self { provider: CPU, device: 0, strict: true }
    }

    /// What ONNX Runtime registers; `None` for the CPU and for those that are plugins only.
    pub(super) fn dispatch(self) -> Option<ExecutionProviderDispatch> {
        // Without `error_on_failure`, a provider that cannot start would silently leave the work to the CPU.
        (self.provider.make)(self.device).map(ExecutionProviderDispatch::error_on_failure)
    }

    /// It is not there: which library is missing, and how to get it.
    pub(super) fn missing(self, there: &[&Provider]) -> Error {
        let there: Vec<_> = there.iter().map(|provider| format!("`{}`", provider.name)).collect();
        let Provider { name, id, library, remedy, .. } = self.provider;
        Error::Provider {
            provider: self.to_string(),
            hint: format!(
                "{remedy}, or name its library with `--ep-library {name}=PATH` or `--onnxruntime PATH`; there is: {}; \
                 with `--allow-fallback`, petal draws on the CPU instead",
                there.join(", ")
            ),
            source: format!("this ONNX Runtime has no {id} (`{library}`)").into(),
        }
    }
}

impl fmt::Display for ProviderChoice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.device {
            0 => out.write_str(self.provider.name),
            device => write!(out, "{}:{device}", self.provider.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_and_devices() {
        let one = |text| ProviderChoice::parse(text).unwrap()[0].to_string();
        assert_eq!(one("cpu"), "cpu");
        assert_eq!(one("CUDA:1"), "cuda:1");
        assert_eq!(ProviderChoice::parse("cudda").unwrap_err().to_string(), "unknown provider `cudda`");
        assert!(ProviderChoice::parse("cuda:-1").is_err());
        for odd in ["cuda:x", "cpu:7", "coreml:1", "auto:1", "cuda:", ":1"] {
            assert!(ProviderChoice::parse(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn auto_tries_gpus_and_then_the_cpu() {
        let names: Vec<_> = ProviderChoice::parse("auto").unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["cuda", "directml", "cpu"]);
    }

    /// What is missing is named, with what to do: the file, the command, the option.
    #[test]
    fn a_missing_provider_brings_its_library_and_a_remedy() {
        for provider in PROVIDERS {
            let error = ProviderChoice { provider, device: 0, strict: true }.missing(&[CPU]);
            let hint = error.hint().unwrap();
            assert!(error.with_causes().contains(provider.library), "{error}");
            assert!(hint.starts_with(provider.remedy) && hint.contains("--allow-fallback"), "{hint}");
        }
    }
}
