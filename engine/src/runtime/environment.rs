//! ONNX Runtime itself: loaded once, with the plugins that bring it more providers.
use super::{PROVIDERS, Provider, ProviderChoice, provider::CPU, raw};
use crate::{Error, Result};
use ort::{AsPointer, device::Device, environment::Environment, logging::LogLevel};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, Once, PoisonError},
};

/// ONNX Runtime itself. There is one in a process, for ever.
#[derive(Clone)]
pub(crate) struct Runtime {
    pub(super) environment: Environment,
    pub(super) library: PathBuf,
    plugins: Arc<Mutex<Vec<Plugin>>>,
}

/// A provider that lies in a library of its own.
#[derive(Debug)]
struct Plugin {
    provider: &'static Provider,
    path: PathBuf,
    /// Where ONNX Runtime keeps its devices, for ever.
    devices: Vec<usize>,
}

static STARTED: Mutex<Option<Runtime>> = Mutex::new(None);

impl Runtime {
    /// Loads the shared library at `path`, or gives the one that is loaded already.
    pub(crate) fn start(path: &Path) -> Result<Self> {
        let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
        match &*started {
            Some(runtime) if runtime.library == path => return Ok(runtime.clone()),
            Some(runtime) => {
                let what = format!("ONNX Runtime was already loaded from `{}`", runtime.library.display());
                return Err(Error::library(what, "use one library in a process"));
            }
            None => {}
        }
        silence_telemetry();
        let fault = |error: String| {
            Error::library(
                format!("cannot load ONNX Runtime from `{}`: {error}", path.display()),
                "give a library of version 1.24 or newer with `--onnxruntime PATH`, or leave the option out",
            )
        };
        let builder = ort::init_from(path).map_err(|error| fault(error.to_string()))?;
        // Errors come back as values; ONNX Runtime would print them as well.
        let builder = builder.with_name("petal").with_telemetry(false).with_logger(Arc::new(|_, _, _, _, _| {}));
        let environment = builder.build().map_err(|error| fault(error.message().to_owned()))?;
        environment.set_log_level(LogLevel::Fatal);
        let runtime = Self { environment, library: path.to_path_buf(), plugins: Arc::default() };
        *started = Some(runtime.clone());
        Ok(runtime)
    }

    /// The version of the library: `1.31.1`.
    pub(crate) fn version(&self) -> String {
        let told = self.environment.devices().find_map(|device| match device.ep() {
            Ok(name) if name == CPU.id => raw::metadata(&device, c"version"),
            _ => None,
        });
        told.unwrap_or_else(|| ort::util::probe(&self.library).map_or("unknown".into(), |minor| format!("1.{minor}")))
    }

    /// What the library says of how it was built.
    pub(crate) fn build() -> &'static str {
        ort::info().trim_start_matches("ORT Build Info: ")
    }

    /// Loads the plugin of `provider` in the library at `path`, unless it is loaded.
    pub(crate) fn register(&self, provider: &'static Provider, path: &Path) -> Result<()> {
        let mut plugins = self.plugins.lock().unwrap_or_else(PoisonError::into_inner);
        match plugins.iter().find(|plugin| plugin.provider.name == provider.name) {
            Some(plugin) if plugin.path == path => return Ok(()),
            Some(plugin) => {
                let what =
                    format!("the plugin `{}` was already loaded from `{}`", provider.name, plugin.path.display());
                return Err(Error::library(what, "use one library of a plugin in a process"));
            }
            None => {}
        }
        let devices = || self.environment.devices().map(|device| device.ptr() as usize).collect::<Vec<_>>();
        let before = devices();
        self.environment.register_ep_library(provider.name, path).map_err(|error| {
            Error::library(
                format!("cannot load the plugin `{}` from `{}`: {}", provider.name, path.display(), error.message()),
                format!("{}, or give the path of a library of plugins for this ONNX Runtime", provider.remedy),
            )
        })?;
        let devices = devices().into_iter().filter(|device| !before.contains(device)).collect();
        plugins.push(Plugin { provider, path: path.to_path_buf(), devices });
        Ok(())
    }

    /// The providers that are there: part of the library, or in a plugin that is loaded. Whether they start is known when
    /// a graph is loaded.
    pub(crate) fn providers(&self) -> Vec<&'static Provider> {
        let built_in = raw::providers();
        let is_there = |provider: &&Provider| {
            built_in.iter().any(|id| id == provider.id) || self.plugin_devices(provider).is_some()
        };
        PROVIDERS.iter().filter(is_there).collect()
    }

    /// The file and the version of the plugin that `provider` is in, and how many devices it found.
    pub(crate) fn plugin(&self, provider: &Provider) -> Option<(PathBuf, Option<String>, usize)> {
        let plugins = self.plugins.lock().unwrap_or_else(PoisonError::into_inner);
        let plugin = plugins.iter().find(|plugin| plugin.provider.name == provider.name)?;
        let mut devices = self.environment.devices();
        let version = devices.find_map(|device| {
            let own = plugin.devices.contains(&(device.ptr() as usize));
            if own { raw::metadata(&device, c"version") } else { None }
        });
        Some((plugin.path.clone(), version, plugin.devices.len()))
    }

    /// The devices of the plugin that `provider` is in; `None` if it is in none.
    pub(super) fn plugin_devices(&self, provider: &Provider) -> Option<Vec<Device<'_>>> {
        let plugins = self.plugins.lock().unwrap_or_else(PoisonError::into_inner);
        let plugin = plugins.iter().find(|plugin| plugin.provider.name == provider.name)?;
        let devices = self.environment.devices();
        Some(devices.filter(|device| plugin.devices.contains(&(device.ptr() as usize))).collect())
    }

    /// Fails unless the provider is there, and the device, as far as that is known before a graph is loaded.
    pub(crate) fn check(&self, choice: ProviderChoice) -> Result<()> {
        if let Some(devices) = self.plugin_devices(choice.provider) {
            if (choice.device as usize) < devices.len() {
                return Ok(());
            }
            let found = match devices.len() {
                0 => "its plugin finds no device that it can use here".into(),
                many => format!("its plugin finds {many} devices, which count from 0"),
            };
            return Err(Error::Provider {
                provider: choice.to_string(),
                hint: "check the driver of the device: `petal doctor` says what is seen; or add `--allow-fallback`"
                    .into(),
                source: found.into(),
            });
        }
        let there = self.providers();
        let found = there.iter().any(|provider| provider.name == choice.provider.name);
        if found { Ok(()) } else { Err(choice.missing(&there)) }
    }
}

/// Turns off the telemetry of Microsoft's builds, which `with_telemetry(false)` alone does not.
fn silence_telemetry() {
    static ONCE: Once = Once::new();
    // SAFETY: sound unless another thread reads or writes the environment at the same moment without Rust's lock, as C
    // code may. It happens once, before this process has loaded ONNX Runtime; `Pipeline::load` names it.
    #[allow(unsafe_code)]
    ONCE.call_once(|| unsafe { std::env::set_var("ORT_DISABLE_TELEMETRY", "1") });
}
