//! Where does a graph that is loaded from memory find the weights that lie beside its file?
use super::signature::Signature;
use crate::{Error, Result};
use ort::session::builder::SessionBuilder;
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read, Seek},
    path::{Path, PathBuf},
    sync::Arc,
};

/// `onnxruntime_session_options_config_keys.h`, `kOrtSessionOptionsModelExternalInitializersFileFolderPath`.
const FOLDER: &str = "session.model_external_initializers_file_folder_path";

/// Lets `builder` find the weight files `names` of the graph at `graph`. ONNX Runtime maps those in the graph's folder;
/// it takes a link out of that folder only beside a graph that is itself such a link, as in the cache of the Hugging
/// Face Hub, and from memory not even there: those are read.
pub(super) fn find_beside(
    mut builder: SessionBuilder,
    graph: &Path,
    names: &BTreeSet<String>,
) -> Result<SessionBuilder> {
    let fault = |error: ort::Error<_>| Error::Runtime {
        doing: "naming the weights of a graph".into(),
        source: error.message().into(),
    };
    let folder = folder_of(graph);
    builder = builder.with_config_entry(FOLDER, folder.to_string_lossy()).map_err(fault)?;
    for name in names {
        if let Some(path) = linked(graph, &folder.join(name)).map_err(Error::io("find", folder.join(name)))? {
            let bytes = read_shared(&path).map_err(Error::io("read", &path))?;
            builder = builder.with_external_initializer_file_in_memory(name, bytes).map_err(fault)?;
        }
    }
    Ok(builder)
}

fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The file that `weights` links to, if it is outside the graph's folder and beside the file that `graph` links to.
fn linked(graph: &Path, weights: &Path) -> io::Result<Option<PathBuf>> {
    let (folder, file) = (fs::canonicalize(folder_of(graph))?, fs::canonicalize(weights)?);
    let graph = fs::canonicalize(graph)?;
    Ok((!file.starts_with(folder) && file.starts_with(folder_of(&graph))).then_some(file))
}

/// A file's bytes, read into place.
fn read_shared(path: &Path) -> io::Result<Arc<[u8]>> {
    let mut file = File::open(path)?;
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let mut bytes: Arc<[u8]> = std::iter::repeat_n(0, length).collect();
    if let Some(place) = Arc::get_mut(&mut bytes) {
        file.read_exact(place)?;
    }
    Ok(bytes)
}

/// Some bytes of the weight file `name` of the graph at `graph`.
pub(super) fn read_part(graph: &Path, name: &str, start: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut file = File::open(folder_of(graph).join(name))?;
    file.seek(io::SeekFrom::Start(start))?;
    let mut bytes = vec![0; length];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The bytes of a file, with room behind them: half a gigabyte is not moved for the sake of a few nodes.
pub(super) fn read_with_room(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let mut bytes = Vec::with_capacity(length + (1 << 16));
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Fails if a file with weights of the graph at `path` is missing beside it, or too short.
pub(crate) fn check_beside(path: &Path, signature: &Signature) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    for (name, file) in &signature.weight_files {
        let length = std::fs::metadata(folder.join(name)).map_or(0, |found| found.len());
        if length < file.end {
            let what = if length == 0 { "missing or empty".into() } else { format!("cut off after {length} bytes") };
            return Err(Error::model(
                format!("the weights of `{}`, `{name}`, are {what}: there are {} bytes", path.display(), file.end),
                "download or export the model again, and keep the files together",
            ));
        }
    }
    Ok(())
}
