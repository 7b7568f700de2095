//! Latents as files: `.npy` and `.safetensors`, in diffusers' shape `[batch, channels, height, width]`.
use crate::{
    Error, Result,
    models::{check_writable, write_atomically},
    sampling::Latents,
};
use half::f16;
use ndarray::{ArrayViewD, IxDyn};
use ndarray_npy::{ViewNpyExt, WriteNpyExt};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::{fs, path::Path};

/// The largest file of latents that is read: a picture of 16,384 pixels a side has 64 MiB of them.
const LARGEST: u64 = 1 << 30;
/// The name under which latents are written; the only tensor of a file may have any name.
const NAME: &str = "latents";

/// The two kinds of file, by suffix.
enum Kind {
    Npy,
    Safetensors,
}

impl Kind {
    fn of(path: &Path) -> Result<Self> {
        match path.extension().and_then(|suffix| suffix.to_str()) {
            Some("npy") => Ok(Self::Npy),
            Some("safetensors") => Ok(Self::Safetensors),
            _ => Err(Error::request(
                format!("`{}` is neither .npy nor .safetensors", path.display()),
                "name a file that ends in .npy or .safetensors",
            )),
        }
    }
}

impl Latents {
    /// Reads latents from a file: `.npy` of 32- or 64-bit floats, `.safetensors` of 16- or 32-bit floats.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let kind = Kind::of(path)?;
        let length = fs::metadata(path).map_err(Error::io("open", path))?.len();
        if length > LARGEST {
            return Err(unreadable(path, &format!("it has {length} bytes")));
        }
        let bytes = fs::read(path).map_err(Error::io("read", path))?;
        let (shape, values) = match kind {
            Kind::Npy => read_npy(&bytes),
            Kind::Safetensors => read_safetensors(&bytes),
        }
        .map_err(|why| unreadable(path, &why))?;
        let axes = <[usize; 4]>::try_from(shape.as_slice())
            .map_err(|_| unreadable(path, &format!("its shape is {shape:?}, not [batch, channels, height, width]")))?;
        let latents = Self::new(axes, values)?;
        if latents.is_finite() { Ok(latents) } else { Err(unreadable(path, "not all its numbers are finite")) }
    }

    /// Fails unless latents can be written to `path`: its suffix must be known, and its folder writable.
    pub fn check_target(path: impl AsRef<Path>) -> Result<()> {
        Kind::of(path.as_ref())?;
        check_writable(path.as_ref().parent().unwrap_or(Path::new("")))
    }

    /// Writes the latents as 32-bit floats to a `.npy` or `.safetensors` file, which appears whole or not at all.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let failed =
            |error: String| Error::request(format!("cannot write `{}`: {error}", path.display()), "report this");
        let bytes = match Kind::of(path)? {
            Kind::Npy => {
                let mut bytes = Vec::new();
                let view = ArrayViewD::from_shape(IxDyn(&self.shape()), self.values());
                let view = view.map_err(|error| failed(error.to_string()))?;
                view.write_npy(&mut bytes).map_err(|error| failed(error.to_string()))?;
                bytes
            }
            Kind::Safetensors => {
                let data: Vec<u8> = self.values().iter().flat_map(|value| value.to_le_bytes()).collect();
                let view = TensorView::new(Dtype::F32, self.shape().to_vec(), &data);
                let view = view.map_err(|error| failed(error.to_string()))?;
                safetensors::serialize([(NAME, view)], None).map_err(|error| failed(error.to_string()))?
            }
        };
        write_atomically(path, &bytes)
    }
}

fn unreadable(path: &Path, why: &str) -> Error {
    Error::request(
        format!("`{}` holds no latents: {why}", path.display()),
        "give floats of shape [1, channels, height, width], such as `petal --save-latents` or numpy.save writes",
    )
}

/// Shape and values, or what is wrong.
type Numbers = Result<(Vec<usize>, Vec<f32>), String>;

fn read_npy(bytes: &[u8]) -> Numbers {
    // a view allocates nothing, whatever shape the header claims; iterating puts Fortran order right
    let error = match ArrayViewD::<f32>::view_npy(bytes) {
        Ok(view) => return Ok((view.shape().to_vec(), view.iter().copied().collect())),
        Err(error) => error.to_string(),
    };
    let view = ArrayViewD::<f64>::view_npy(bytes).map_err(|_| error)?;
    Ok((view.shape().to_vec(), view.iter().map(|value| *value as f32).collect()))
}

fn read_safetensors(bytes: &[u8]) -> Numbers {
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let tensor = match file.tensor(NAME) {
        Ok(tensor) => tensor,
        Err(_) if file.len() == 1 => file.tensors().swap_remove(0).1,
        Err(_) => return Err(format!("none of its {} tensors is called `{NAME}`", file.len())),
    };
    let data = tensor.data();
    let values = match tensor.dtype() {
        Dtype::F32 => data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        Dtype::F16 => data.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        other => return Err(format!("its numbers are of type {other:?}")),
    };
    Ok((tensor.shape().to_vec(), values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_bring_latents_back() {
        let folder = tempfile::tempdir().unwrap();
        let latents = Latents::new([1, 2, 2, 3], (0..12).map(|i| i as f32 / 7.0).collect()).unwrap();
        for name in ["a.npy", "a.safetensors"] {
            let path = folder.path().join(name);
            latents.write(&path).unwrap();
            assert_eq!(Latents::read(&path).unwrap(), latents, "{name}");
        }
    }

    #[test]
    fn odd_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            path
        };
        let huge = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 4, 1000000, 1000000), }\n";
        let huge = [b"\x93NUMPY\x01\x00".as_slice(), &(huge.len() as u16).to_le_bytes(), huge].concat();
        for file in [
            path("huge.npy", &huge),
            path("a.npy", b"garbage"),
            path("a.safetensors", &[255; 40]),
            path("a.txt", b""),
            "no.npy".into(),
        ] {
            let error = Latents::read(&file).unwrap_err();
            assert!(error.to_string().contains(&file.display().to_string()), "{error}");
        }
    }
}
