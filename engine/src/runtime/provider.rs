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
    /// Whether `auto` may choose it: it is known to be faster than the CPU where it starts.
    automatic: bool,
    /// Whether its devices have numbers.
    numbered: bool,
    /// Whether the loaded library contains it.
    contained: fn() -> ort::Result<bool>,
    /// Makes it for the device with this number; `None` for the CPU, which is always there.
    make: fn(i32) -> Option<ExecutionProviderDispatch>,
}

macro_rules! provider {
    ($name:literal, $ep:ident, $automatic:literal, $numbered:literal, $about:literal, $make:expr) => {
        Provider {
            name: $name,
            id: <ep::$ep as ExecutionProvider>::NAME,
            about: $about,
            automatic: $automatic,
            numbered: $numbered,
            contained: <ep::$ep as ExecutionProvider>::is_available,
            make: $make,
        }
    };
}

/// Every provider, in the order in which `auto` tries them. To add one, write a line here and name its `ort` feature.
#[rustfmt::skip]
pub const PROVIDERS: &[Provider] = &[
    // TF32 is off because pictures must equal the reference's.
    provider!("cuda", CUDA, true, true, "NVIDIA GPUs", |d| Some(ep::CUDA::default().with_device_id(d).with_tf32(false).build())),
    provider!("tensorrt", TensorRT, false, true, "NVIDIA GPUs through TensorRT", |d| Some(ep::TensorRT::default().with_device_id(d).build())),
    provider!("nvrtx", NVRTX, false, true, "NVIDIA GPUs through TensorRT-RTX", |d| Some(ep::NVRTX::default().with_device_id(d as u32).build())),
    provider!("directml", DirectML, true, true, "any GPU on Windows", |d| Some(ep::DirectML::default().with_device_id(d).build())),
    provider!("coreml", CoreML, false, false, "Apple devices", |_| Some(ep::CoreML::default().build())),
    provider!("webgpu", WebGPU, false, true, "any GPU through Vulkan, Metal or Direct3D 12", |d| Some(ep::WebGPU::default().with_device_id(d).build())),
    provider!("openvino", OpenVINO, false, false, "Intel processors and GPUs", |_| Some(ep::OpenVINO::default().build())),
    provider!("qnn", QNN, false, false, "Qualcomm processors", |_| Some(ep::QNN::default().build())),
    provider!("migraphx", MIGraphX, false, true, "AMD GPUs on Linux", |d| Some(ep::MIGraphX::default().with_device_id(d).build())),
    provider!("xnnpack", XNNPACK, false, false, "ARM and x86 processors through XNNPACK", |_| Some(ep::XNNPACK::default().build())),
    provider!("cpu", CPU, true, false, "any processor; always there", |_| None),
];

/// A provider and the number of the device it shall use.
#[derive(Clone, Copy, Debug)]
pub struct ProviderChoice {
    /// The provider.
    pub provider: &'static Provider,
    /// The device's number, from 0.
    pub device: i32,
}

impl ProviderChoice {
    /// Reads what `--ep` takes: `auto`, or `cpu`, `cuda`, `cuda:1`. For `auto` gives every provider to try, in order.
    pub fn parse(text: &str) -> Result<Vec<Self>> {
        let (name, number) = text.split_once(':').map_or((text, None), |(name, number)| (name, Some(number)));
        if name.eq_ignore_ascii_case("auto") && number.is_none() {
            let automatic = PROVIDERS.iter().filter(|provider| provider.automatic);
            return Ok(automatic.map(|provider| Self { provider, device: 0 }).collect());
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
        Ok(vec![Self { provider, device }])
    }

    /// What ONNX Runtime registers; `None` for the CPU.
    pub(crate) fn dispatch(self) -> Option<ExecutionProviderDispatch> {
        // Without `error_on_failure`, a provider that cannot start would silently leave the work to the CPU.
        (self.provider.make)(self.device).map(ExecutionProviderDispatch::error_on_failure)
    }

    /// Fails unless the loaded library contains the provider.
    pub(crate) fn check_contained(self) -> Result<()> {
        if (self.provider.contained)().unwrap_or(false) {
            return Ok(());
        }
        let there: Vec<_> = available().iter().map(|provider| provider.name).collect();
        Err(Error::Provider {
            provider: self.to_string(),
            hint: format!(
                "give a library that contains it with `--onnxruntime PATH`, or use one that is there: {}",
                there.join(", ")
            ),
            source: format!("this build of ONNX Runtime has no {}", self.provider.id).into(),
        })
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

/// The providers that the loaded library contains. Whether they start is known when a graph is loaded.
pub(crate) fn available() -> Vec<&'static Provider> {
    PROVIDERS.iter().filter(|provider| (provider.contained)().unwrap_or(false)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_and_devices() {
        let one = |text| ProviderChoice::parse(text).unwrap()[0].to_string();
        assert_eq!(one("cpu"), "cpu");
        assert_eq!(one("CUDA:1"), "cuda:1");
        assert_eq!(ProviderChoice::parse("auto").unwrap().last().unwrap().provider.name, "cpu");
        assert_eq!(ProviderChoice::parse("cudda").unwrap_err().to_string(), "unknown provider `cudda`");
        assert!(ProviderChoice::parse("cuda:-1").is_err());
        for odd in ["cuda:x", "cpu:7", "coreml:1", "auto:1", "cuda:", ":1"] {
            assert!(ProviderChoice::parse(odd).is_err(), "{odd}");
        }
    }
}
