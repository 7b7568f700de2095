//! Wheels from the package index that the user's pip is set up for, through mirrors and proxies if need be.
use crate::{Error, Result, models::RuntimeWheel};
use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// What Python may be called.
const PYTHONS: [&str; 3] = ["python3", "python", "py"];

/// What else helps whenever pip does not.
const MANUAL: &str = "or give a library of version 1.24 or newer with `--onnxruntime PATH`";

/// Has pip bring a wheel into `folder`; where it is.
pub(super) fn download(wheel: &RuntimeWheel, folder: &Path) -> Result<PathBuf> {
    let mut complaint = None; // the first Python's: it is the one that people mean
    for python in PYTHONS {
        match command(python, wheel, folder).output() {
            Ok(output) if output.status.success() => return found(wheel, folder),
            Ok(output) => complaint = complaint.or_else(|| Some(failure(wheel, folder, &output))),
            Err(_) => {} // no such program: try the next name
        }
    }
    Err(complaint.unwrap_or_else(|| {
        let what = format!("cannot install {}: there is no Python", wheel.requirement);
        Error::library(what, format!("install Python 3 with pip, {MANUAL}"))
    }))
}

/// The file that pip brought, which is the catalogue's unless the index has others.
fn found(wheel: &RuntimeWheel, folder: &Path) -> Result<PathBuf> {
    let path = folder.join(&wheel.file);
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::library(
        format!("pip brought another file for {} than `{}`", wheel.requirement, wheel.file),
        "check the package index that pip uses; it has not the file that was vetted",
    ))
}

/// The platform and Python are named so that the pinned file comes whatever Python runs pip. pip's own temporary files go
/// where the wheels go: some are larger than what systems keep in memory for such files.
fn command(python: &str, wheel: &RuntimeWheel, folder: &Path) -> Command {
    let mut command = Command::new(python);
    command.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    command.args(["--only-binary=:all:", "--implementation", "cp", "--python-version", "313", "--abi", "cp313"]);
    command.args(["--platform", &wheel.platform, "--dest"]).arg(folder).arg(&wheel.requirement);
    for variable in ["TMPDIR", "TEMP", "TMP"] {
        command.env(variable, folder);
    }
    command
}

/// What went wrong, of what pip said.
fn failure(wheel: &RuntimeWheel, folder: &Path, output: &Output) -> Error {
    let said = String::from_utf8_lossy(&output.stderr);
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let could_not = format!("pip could not download {}", wheel.requirement);
    if has(&["No module named pip"]) {
        let what = format!("cannot install {}: Python has no pip", wheel.requirement);
        return Error::library(what, format!("install pip, as with `python3 -m ensurepip`, {MANUAL}"));
    }
    if has(&["No space left", "Errno 28", "not enough space", "Disk quota exceeded"]) {
        let hint = format!("free {} MB or more where `{}` is", 4 * wheel.size / 1_000_000 + 1, folder.display());
        return Error::library(format!("{could_not}: there is no space left on the disk"), hint);
    }
    if has(&["ConnectionError", "NameResolutionError", "ConnectTimeoutError", "ProxyError", "Max retries exceeded"]) {
        let hint = format!("check the network and pip's settings, {MANUAL}");
        return Error::library(format!("{could_not}: the package index cannot be reached"), hint);
    }
    let hint = format!("check the network and pip's settings, {MANUAL}");
    Error::library(format!("{could_not}: {}", last_line(&said)), hint)
}

/// What a program complained of, in its last line.
fn last_line(said: &str) -> &str {
    let line = said.lines().rev().find(|line| !line.trim().is_empty());
    line.unwrap_or("it gave no reason").trim().trim_start_matches("ERROR: ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{Catalogue, Platform};

    fn arguments(name: &str, os: &str, arch: &str) -> Vec<String> {
        let catalogue = Catalogue::load(None).unwrap();
        let bundle = catalogue.bundle(name, Platform { os, arch }).unwrap();
        let command = command("python3", &bundle.wheels[0], Path::new("folder"));
        command.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn pip_is_asked_for_the_wheel_of_the_platform() {
        for (name, os, arch, platform, requirement) in [
            ("cpu", "linux", "aarch64", "manylinux_2_28_aarch64", "onnxruntime==1.31.1"),
            ("cpu", "macos", "aarch64", "macosx_14_0_arm64", "onnxruntime==1.31.1"),
            ("cpu", "windows", "aarch64", "win_arm64", "onnxruntime==1.31.1"),
            ("directml", "windows", "x86_64", "win_amd64", "onnxruntime-windowsml==1.30.0.202609102321"),
            ("webgpu", "macos", "aarch64", "macosx_14_0_universal2", "onnxruntime-ep-webgpu==0.4.0"),
        ] {
            let asked = arguments(name, os, arch);
            let text = asked.join(" ");
            assert!(text.contains(&format!("--platform {platform} ")), "{text}");
            assert!(text.contains("--python-version 313 --abi cp313"), "{text}");
            assert_eq!(asked.last().unwrap(), requirement);
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_pip_complains_of_is_told_in_its_words_or_better() {
        use std::os::unix::process::ExitStatusExt;
        let catalogue = Catalogue::load(None).unwrap();
        let wheel = &catalogue.runtimes[0].wheels[0];
        for (said, what, hint) in [
            ("/usr/bin/python3: No module named pip\n", "Python has no pip", "install pip"),
            ("ERROR: Could not install: [Errno 28] No space left on device\n", "no space left", "free 86 MB"),
            (
                "WARNING: Retrying: NewConnectionError(...)\nERROR: No matching distribution found for x\n",
                "the package index cannot be reached",
                "check the network",
            ),
            (
                "a\nERROR: No matching distribution found for x\n\n",
                ": No matching distribution found for x",
                "--onnxruntime",
            ),
            ("", "it gave no reason", "check the network"),
        ] {
            let output =
                Output { status: ExitStatusExt::from_raw(256), stdout: Vec::new(), stderr: said.as_bytes().to_vec() };
            let error = failure(wheel, Path::new("folder"), &output);
            assert!(error.to_string().contains(what), "{error}");
            assert!(error.hint().unwrap().contains(hint), "{:?}", error.hint());
        }
    }
}
