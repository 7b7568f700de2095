//! Models are proven before they run.
use super::support::{copy_folder, library, model, petal};
use petal_engine::{Error, LoadOptions, Pipeline};
use sha2::{Digest, Sha256};
use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

/// A catalogue in `folder` that vets a copy of the tiny model, and the model's folder.
fn vetted(folder: &Path) -> (PathBuf, PathBuf) {
    let copy = folder.join("tiny");
    copy_folder(Path::new(&model("sd1")), &copy);
    let mut text = String::from(
        "[[model]]\nname = \"tiny\"\nfamily = \"sd\"\nabout = \"x\"\nlicence = \"MIT\"\nsource = \"x\"\n[model.files]\n",
    );
    for file in files(&copy) {
        let digest: [u8; 32] = Sha256::digest(fs::read(copy.join(&file)).unwrap()).into();
        writeln!(text, "\"{file}\" = \"{}\"", digest.map(|byte| format!("{byte:02x}")).concat()).unwrap();
    }
    let catalogue = folder.join("catalogue.toml");
    fs::write(&catalogue, text).unwrap();
    (catalogue, copy)
}

/// The files below `folder`, by their paths in it, with forward slashes.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            found.extend(files(&entry.path()).into_iter().map(|file| format!("{name}/{file}")));
        } else {
            found.push(name);
        }
    }
    found
}

#[test]
fn a_vetted_model_draws_and_one_wrong_byte_in_any_file_that_is_used_stops_it() {
    let folder = tempfile::tempdir().unwrap();
    let (catalogue, copy) = vetted(folder.path());
    let options = LoadOptions {
        model: Some("tiny".into()),
        catalogue: Some(catalogue),
        library: Some(library().into()),
        ..LoadOptions::default()
    };
    Pipeline::load(&options, |_| {}).unwrap();
    let later = ["vae_encoder/", "vae_tiny_decoder/"]; // loaded by the first request that needs them
    let used = |file: &&String| !later.iter().any(|part| file.starts_with(part)) && *file != "model_index.json";
    for file in files(&copy).iter().filter(used) {
        let path = copy.join(file);
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        fs::write(&path, &bad).unwrap();
        let error = Pipeline::load(&options, |_| {}).unwrap_err();
        let text = error.to_string();
        assert!(
            matches!(error, Error::Model { .. })
                && text.contains(file)
                && text.matches(char::is_whitespace).count() > 3,
            "{text}"
        );
        let hashes = text.split(|c: char| !c.is_ascii_hexdigit()).filter(|word| word.len() == 64).count();
        assert_eq!(hashes, 2, "{text}");
        fs::write(&path, &good).unwrap();
    }
    Pipeline::load(&options, |_| {}).unwrap();
}

/// A graph that the catalogue does not list, or a file beside one, is not run.
#[test]
fn what_the_catalogue_does_not_list_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let (catalogue, copy) = vetted(folder.path());
    let options = LoadOptions {
        model: Some("tiny".into()),
        catalogue: Some(catalogue.clone()),
        library: Some(library().into()),
        ..LoadOptions::default()
    };
    let refused = |file: &str| {
        let text = Pipeline::load(&options, |_| {}).unwrap_err().to_string();
        assert!(text.contains(file) && text.contains("not in the catalogue"), "{text}");
    };
    fs::write(copy.join("unet/weights.pb"), "x").unwrap();
    refused("unet/weights.pb");
    fs::remove_file(copy.join("unet/weights.pb")).unwrap();
    let text = fs::read_to_string(&catalogue).unwrap();
    let kept: Vec<&str> = text.lines().filter(|line| !line.contains("unet/model.onnx\"")).collect();
    fs::write(&catalogue, kept.join("\n")).unwrap();
    refused("unet/model.onnx");
}

#[test]
fn doctor_proves_the_model_that_comes_with_petal() {
    let folder = tempfile::tempdir().unwrap();
    let output = petal(folder.path()).arg("doctor").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("petal-mini") && text.contains("have the hash"), "{text}");
}

#[test]
fn doctor_fails_when_a_file_was_changed() {
    let folder = tempfile::tempdir().unwrap();
    let (catalogue, copy) = vetted(folder.path());
    fs::write(copy.join("vae_encoder/config.json"), "{}").unwrap();
    let output = petal(folder.path()).args(["doctor", "-m", "tiny", "--catalogue"]).arg(catalogue).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("vae_encoder/config.json") && text.contains("not the vetted file"), "{text}");
}
