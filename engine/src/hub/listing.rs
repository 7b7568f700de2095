//! Which files does a repository have at a revision, and at which commit is that?
use super::{
    address::escape,
    client::{Client, Fault},
    is_commit, is_hash,
    part::Expected,
};
use crate::{Error, Result, models::is_plain};
use serde::Deserialize;
use std::{collections::BTreeMap, path::Path};

/// The longest list that is read, in bytes.
const LONGEST: u64 = 16 << 20;

/// The most files that a hub may give a model: real ones have less than a hundred, and the record of a pull, which lists
/// them, is written after each of them.
const MOST_FILES: usize = 2000;

/// A repository at one commit.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) commit: String,
    pub(super) files: BTreeMap<String, Expected>,
}

#[derive(Deserialize)]
struct Answered {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<Stored>,
}

#[derive(Deserialize)]
struct Stored {
    sha256: Option<String>,
    size: Option<u64>,
}

impl Listing {
    /// Asks the hub.
    pub(super) fn ask(client: &Client, repo: &str, revision: &str) -> Result<Self, Fault> {
        let path = format!("/api/models/{}/revision/{}?blobs=true", escape(repo, true), escape(revision, false));
        let bytes = client.get(&path, None)?.read(LONGEST)?;
        let listing = Self::parse(&bytes, repo)?;
        if is_commit(revision) && !listing.commit.eq_ignore_ascii_case(revision) {
            let what = format!("the hub lists commit {} of `{repo}` in place of {revision}", listing.commit);
            return Err(Error::model(what, "do not use this hub or mirror, or set `HF_ENDPOINT` to another").into());
        }
        Ok(listing)
    }

    fn parse(bytes: &[u8], repo: &str) -> Result<Self> {
        let answered: Answered = serde_json::from_slice(bytes).map_err(|error| {
            let what = format!("the hub's list of the files of `{repo}` cannot be read: {error}");
            Error::model(what, "check that `HF_ENDPOINT` is the address of a hub")
        })?;
        if !is_commit(&answered.sha) {
            let what =
                format!("the hub says that `{repo}` is at `{}`, which is no commit", answered.sha.escape_debug());
            return Err(Error::model(what, "do not use this hub or mirror, or set `HF_ENDPOINT` to another"));
        }
        let files = answered.siblings.into_iter().map(|sibling| {
            let large = sibling.lfs.as_ref().and_then(|lfs| lfs.sha256.clone());
            let expected = Expected {
                sha256: None,
                said: large.or(sibling.blob_id).filter(|hash| is_hash(hash)).map(|hash| hash.to_ascii_lowercase()),
                size: sibling.lfs.and_then(|lfs| lfs.size).or(sibling.size),
            };
            (sibling.rfilename, expected)
        });
        Ok(Self { commit: answered.sha, files: files.collect() })
    }

    /// What the hub says of the files that are `listed`; without any, of those that a model of ONNX graphs needs, since
    /// repositories often hold other forms of the same weights.
    ///
    /// # Errors
    /// [`Error::Model`] for more files than any model has.
    pub(super) fn expectations(mut self, listed: BTreeMap<String, Expected>) -> Result<BTreeMap<String, Expected>> {
        if listed.is_empty() {
            self.files.retain(|name, _| belongs(name));
            if self.files.len() > MOST_FILES {
                let what = format!("the hub lists {} files of a model, more than {MOST_FILES}", self.files.len());
                return Err(Error::model(what, "list the files that it needs in the model's entry"));
            }
            return Ok(self.files);
        }
        let known = |(name, Expected { sha256, .. }): (String, Expected)| {
            let expected = self.files.remove(&name).unwrap_or_default();
            (name, Expected { sha256, ..expected })
        };
        Ok(listed.into_iter().map(known).collect())
    }
}

/// Whether a file is one of a model of ONNX graphs.
fn belongs(name: &str) -> bool {
    const GRAPHS: &[&str] =
        &["", "text_encoder", "text_encoder_2", "text_encoder_3", "transformer", "unet", "vae_decoder", "vae_encoder"];
    let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
    let suffix = Path::new(file).extension().unwrap_or_default().to_string_lossy();
    match folder {
        "scheduler" => file == "scheduler_config.json",
        "tokenizer" | "tokenizer_2" | "tokenizer_3" => ["json", "txt", "model"].contains(&&*suffix),
        "" if file == "model_index.json" || file.starts_with("LICENSE") => true,
        folder if GRAPHS.contains(&folder) => {
            let weights = file.starts_with("model.onnx") || file == "weights.pb";
            weights || (!folder.is_empty() && file == "config.json")
        }
        _ => false,
    }
}

/// Fails for a path that leads out of its folder, or that another system reads otherwise.
pub(super) fn check_path(name: &str) -> Result<()> {
    if !name.split('/').all(is_plain) || name.contains(".petal-") {
        let what = format!("`{}` cannot be a file of a model", name.escape_debug());
        return Err(Error::model(what, "do not use this model: its list of files leads elsewhere"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_gives_commit_hashes_and_sizes() {
        let text = br#"{"sha": "c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0", "other": 1, "siblings": [
            {"rfilename": "unet/model.onnx", "size": 9, "blobId": "x", "lfs": {"sha256":
             "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "size": 9, "pointerSize": 3}},
            {"rfilename": "unet/config.json", "size": 2, "blobId": "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"},
            {"rfilename": "tokenizer/vocab.json", "blobId": "/tmp/a/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"},
            {"rfilename": "unet/model.safetensors"}]}"#;
        let files = Listing::parse(text, "a/b").unwrap();
        assert_eq!(files.commit, "c0".repeat(20));
        let files = files.expectations(BTreeMap::new()).unwrap();
        assert_eq!(files.keys().collect::<Vec<_>>(), ["tokenizer/vocab.json", "unet/config.json", "unet/model.onnx"]);
        assert_eq!(files["tokenizer/vocab.json"].said, None, "a path is no hash");
        assert_eq!(files["unet/model.onnx"].said, Some("a".repeat(64)));
        assert_eq!((files["unet/config.json"].size, &files["unet/config.json"].said), (Some(2), &Some("b".repeat(40))));
        assert!(Listing::parse(b"<html>", "a/b").unwrap_err().hint().is_some());
    }

    #[test]
    fn other_forms_of_the_weights_stay_away() {
        for name in [
            "model_index.json",
            "LICENSE.md",
            "model.onnx",
            "unet/model.onnx_data",
            "unet/weights.pb",
            "unet/config.json",
            "text_encoder_2/model.onnx.data",
            "tokenizer_3/spiece.model",
            "scheduler/scheduler_config.json",
        ] {
            assert!(belongs(name), "{name}");
        }
        for name in [
            "README.md",
            "unet/model.safetensors",
            "vae/config.json",
            "sd_xl_base_1.0.safetensors",
            "a/unet/model.onnx",
            "unet/openvino_model.bin",
            "tokenizer/model.onnx",
            "safety_checker/model.onnx",
            "config.json",
        ] {
            assert!(!belongs(name), "{name}");
        }
    }

    #[test]
    fn no_path_leads_out_of_the_folder() {
        check_path("unet/model.onnx").unwrap();
        for name in [
            "",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a//b",
            "./a",
            "a\\b",
            "c:x",
            "a\nb",
            "a.",
            "x/.petal-part",
            "a/",
            "a/con.json",
            "a /b",
        ] {
            assert!(check_path(name).is_err(), "{name:?}");
        }
    }
}
