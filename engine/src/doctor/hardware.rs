//! Which processor, memory, drivers and GPUs does this machine have? Read from the system's files, without any library.
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

/// What is seen of a machine. What the system does not tell is left out.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Hardware {
    /// The system and the kind of processor, as `linux x86_64`.
    pub system: String,
    /// The processor's name.
    pub processor: Option<String>,
    /// How many threads run at once.
    pub cores: usize,
    /// The memory in bytes.
    pub memory: Option<u64>,
    /// The version of NVIDIA's driver; empty where only its library is seen.
    pub nvidia_driver: Option<String>,
    /// NVIDIA's GPUs by name.
    pub nvidia_gpus: Vec<String>,
    /// The library through which programs find Vulkan.
    pub vulkan: Option<PathBuf>,
    /// The files that name Vulkan's drivers.
    pub vulkan_drivers: Vec<PathBuf>,
}

/// What is seen of this machine.
#[must_use]
pub fn examine_hardware() -> Hardware {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let known = Hardware { system: format!("{} {}", env::consts::OS, env::consts::ARCH), cores, ..Hardware::default() };
    match env::consts::OS {
        "windows" => windows(known),
        "macos" => macos(known),
        _ => linux(known),
    }
}

fn linux(known: Hardware) -> Hardware {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let gpus = files_in(Path::new("/proc/driver/nvidia/gpus"));
    let gpus = gpus.iter().filter_map(|gpu| fs::read_to_string(gpu.join("information")).ok());
    Hardware {
        processor: value_of(&read("/proc/cpuinfo"), "model name"),
        memory: value_of(&read("/proc/meminfo"), "MemTotal").and_then(|text| kibibytes(&text)),
        nvidia_driver: nvidia_version(&read("/proc/driver/nvidia/version")),
        nvidia_gpus: gpus.filter_map(|text| value_of(&text, "Model")).collect(),
        vulkan: vulkan_loader(env::var("LD_LIBRARY_PATH").ok().as_deref()),
        vulkan_drivers: vulkan_drivers(),
        ..known
    }
}

fn macos(known: Hardware) -> Hardware {
    let sysctl = |name: &str| {
        let output = Command::new("sysctl").args(["-n", name]).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned()).filter(|text| !text.is_empty())
    };
    Hardware {
        processor: sysctl("machdep.cpu.brand_string"),
        memory: sysctl("hw.memsize").and_then(|text| text.parse().ok()),
        ..known
    }
}

fn windows(known: Hardware) -> Hardware {
    let system = env::var_os("SystemRoot").map(|root| Path::new(&root).join("System32")).unwrap_or_default();
    let there = |name: &str| Some(system.join(name)).filter(|path| path.is_file());
    Hardware {
        processor: env::var("PROCESSOR_IDENTIFIER").ok(),
        nvidia_driver: there("nvcuda.dll").map(|_| String::new()),
        vulkan: there("vulkan-1.dll"),
        ..known
    }
}

/// The value behind the colon of the first line that begins with `name`.
fn value_of(text: &str, name: &str) -> Option<String> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.into_iter().find(|(key, _)| key.trim() == name)?;
    Some(value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// The bytes of `65842112 kB`.
fn kibibytes(text: &str) -> Option<u64> {
    text.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The version in NVIDIA's `NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 ...`.
fn nvidia_version(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("NVRM version:"))?;
    let is_version = |word: &&str| {
        word.contains('.') && word.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
    };
    line.split_whitespace().find(is_version).map(str::to_owned)
}

/// Where Vulkan's loader lies, in the folders of `LD_LIBRARY_PATH` and those of distributions.
fn vulkan_loader(path: Option<&str>) -> Option<PathBuf> {
    let multiarch = format!("/usr/lib/{}-linux-gnu", env::consts::ARCH);
    let usual = [multiarch.as_str(), "/usr/lib64", "/usr/lib", "/lib64"];
    let folders = path.unwrap_or_default().split(':').filter(|folder| !folder.is_empty()).chain(usual);
    folders.map(|folder| Path::new(folder).join("libvulkan.so.1")).find(|file| file.is_file())
}

/// The files that name Vulkan's drivers, where its loader looks for them.
fn vulkan_drivers() -> Vec<PathBuf> {
    let named = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"].iter().find_map(env::var_os);
    if let Some(named) = named {
        return env::split_paths(&named).filter(|file| file.is_file()).collect();
    }
    let folders = ["/etc/vulkan/icd.d", "/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d"];
    folders.iter().flat_map(|folder| files_in(Path::new(folder))).collect()
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_linux_are_read() {
        let text = "processor\t: 0\nmodel name\t: AMD EPYC 7B13\nmodel name\t: other\nflags :\n";
        assert_eq!(value_of(text, "model name").as_deref(), Some("AMD EPYC 7B13"));
        assert_eq!((value_of(text, "flags"), value_of(text, "Model")), (None, None));
        assert_eq!(value_of("Model: \t\t NVIDIA H100 PCIe\nIRQ: 1\n", "Model").as_deref(), Some("NVIDIA H100 PCIe"));
        assert_eq!(kibibytes("16384 kB"), Some(16 << 20));
        for odd in ["", "kB", "12", "-1 kB", "99999999999999999999 kB"] {
            assert_eq!(kibibytes(odd), None, "{odd}");
        }
    }

    #[test]
    fn the_version_of_nvidias_driver_is_found_in_both_forms() {
        let closed =
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\nGCC 12.2.0";
        let open = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.82.07  Release Build  (u@h)  Wed\n";
        assert_eq!(nvidia_version(closed).as_deref(), Some("535.104.05"));
        assert_eq!(nvidia_version(open).as_deref(), Some("580.82.07"));
        assert_eq!((nvidia_version(""), nvidia_version("NVRM version: none\n")), (None, None));
    }

    #[test]
    fn the_loader_of_vulkan_is_looked_for_where_the_system_would() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("libvulkan.so.1");
        fs::write(&file, "").unwrap();
        assert_eq!(vulkan_loader(Some(&format!("/nowhere::{}", folder.path().display()))), Some(file));
    }

    #[test]
    fn this_machine_is_seen() {
        let hardware = examine_hardware();
        assert!(hardware.cores > 0 && hardware.system.contains(env::consts::OS), "{hardware:?}");
        assert!(env::consts::OS != "linux" || hardware.memory.is_some_and(|bytes| bytes > 1 << 20), "{hardware:?}");
    }
}
