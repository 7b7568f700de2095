//! Where does noise come from, so that a seed keeps its meaning?
//!
//! | what | question it answers | file |
//! |---|---|---|
//! | [`TorchNoise`] | what does `torch.randn` draw on the CPU? | `torch.rs`, `box_muller.rs` |
//! | [`PhiloxNoise`] | what does it draw on a GPU? | `philox.rs` |
//! | [`FirstNoise`] | what does a picture begin with? | `mix.rs` |
//! | [`BrownianNoise`] | what does a step from one level to another add? | `brownian.rs`, `seed_sequence.rs` |
mod box_muller;
mod brownian;
#[cfg(test)]
mod golden;
mod mix;
mod philox;
mod seed_sequence;
mod torch;

use super::Latents;
use crate::{Result, error::unknown};
pub use brownian::BrownianNoise;
pub use mix::{FirstNoise, Variation, slerp};
pub use philox::PhiloxNoise;
pub use torch::TorchNoise;

/// A kind of random numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rng {
    /// Those of torch on the CPU.
    #[default]
    Cpu,
    /// Those of torch on an NVIDIA GPU, as stable-diffusion-webui imitates them.
    Nv,
}

/// A kind of random numbers, with its names.
#[derive(Debug)]
pub struct RngKind {
    /// The name used on the command line and in files.
    pub name: &'static str,
    /// The name in stable-diffusion-webui.
    pub label: &'static str,
    /// Other names for it.
    pub aliases: &'static [&'static str],
    /// One line for `--help`.
    pub about: &'static str,
    /// The kind itself.
    pub rng: Rng,
}

/// Every kind of random numbers; the first is the default.
pub const RNGS: &[RngKind] = &[
    RngKind {
        name: "cpu",
        label: "CPU",
        aliases: &["comfyui"],
        about: "torch on the CPU: the noise of diffusers and ComfyUI",
        rng: Rng::Cpu,
    },
    RngKind {
        name: "nv",
        label: "NV",
        aliases: &["cuda", "gpu"],
        about: "torch on an NVIDIA GPU: the noise of stable-diffusion-webui",
        rng: Rng::Nv,
    },
];

impl RngKind {
    /// All names of this kind.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        [self.label, self.name].into_iter().chain(self.aliases.iter().copied())
    }
}

/// The kind of random numbers that `name` (a name, label or alias, in any case) means.
pub fn find_rng(name: &str) -> Result<&'static RngKind> {
    RNGS.iter()
        .find(|kind| kind.names().any(|n| n.eq_ignore_ascii_case(name)))
        .ok_or_else(|| unknown("random number generator", name, RNGS.iter().map(|kind| kind.name)))
}

/// A generator of noise.
#[derive(Clone, Debug)]
pub enum NoiseSource {
    /// See [`Rng::Cpu`].
    Cpu(TorchNoise),
    /// See [`Rng::Nv`].
    Nv(PhiloxNoise),
}

impl NoiseSource {
    /// A generator that begins at `seed`.
    #[must_use]
    pub fn new(rng: Rng, seed: u64) -> Self {
        match rng {
            Rng::Cpu => Self::Cpu(TorchNoise::new(seed)),
            Rng::Nv => Self::Nv(PhiloxNoise::new(seed)),
        }
    }

    /// Unit noise of `shape`. Each draw continues where the one before ended.
    #[must_use]
    pub fn draw(&mut self, shape: [usize; 4]) -> Latents {
        match self {
            Self::Cpu(noise) => noise.draw(shape),
            Self::Nv(noise) => noise.draw(shape),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_many_names() {
        for (name, rng) in [("cpu", Rng::Cpu), ("ComfyUI", Rng::Cpu), ("NV", Rng::Nv), ("cuda", Rng::Nv)] {
            assert_eq!(find_rng(name).unwrap().rng, rng, "{name}");
        }
        let error = find_rng("cpo").unwrap_err();
        assert_eq!(error.to_string(), "unknown random number generator `cpo`");
        assert_eq!(error.hint().as_deref(), Some("use `cpu`, or another of: cpu, nv"));
    }
}
