//! What a network's raw output means.
use super::{Latents, Process, latents::combine};
use crate::{Error, Result};

/// What a network was trained to predict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prediction {
    /// The noise.
    Epsilon,
    /// The velocity `v` of Salimans & Ho (2022).
    V,
    /// The clean latents.
    Sample,
    /// The direction from data to noise (rectified flow).
    Flow,
}

impl Prediction {
    /// The prediction that `name` means as `prediction_type` in a model's `scheduler_config.json`.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "epsilon" => Ok(Self::Epsilon),
            "v_prediction" => Ok(Self::V),
            "sample" => Ok(Self::Sample),
            "flow_prediction" => Ok(Self::Flow),
            _ => Err(Error::model(
                format!("unknown prediction type `{name}`"),
                "use a model that predicts one of: epsilon, v_prediction, sample, flow_prediction",
            )),
        }
    }

    /// Its name in `scheduler_config.json`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Epsilon => "epsilon",
            Self::V => "v_prediction",
            Self::Sample => "sample",
            Self::Flow => "flow_prediction",
        }
    }

    /// The noising process that goes with this prediction.
    #[must_use]
    pub fn process(self) -> Process {
        match self {
            Self::Flow => Process::RectifiedFlow,
            Self::Epsilon | Self::V | Self::Sample => Process::VarianceExploding,
        }
    }

    /// What the network's input must be multiplied by at `sigma`: `c_in` of Karras et al. (2022), table 1.
    #[must_use]
    pub fn input_scale(self, sigma: f64) -> f64 {
        match self {
            Self::Flow => 1.0,
            Self::Epsilon | Self::V | Self::Sample => 1.0 / (sigma * sigma + 1.0).sqrt(),
        }
    }

    /// The clean latents that `output` implies for `x` at `sigma`.
    #[must_use]
    pub fn denoised(self, x: &Latents, output: &Latents, sigma: f64) -> Latents {
        let variance = sigma * sigma + 1.0;
        let (skip, scale) = match self {
            Self::Epsilon | Self::Flow => (1.0, -sigma),
            Self::V => (1.0 / variance, -sigma / variance.sqrt()),
            Self::Sample => (0.0, 1.0),
        };
        combine(&[(skip, x), (scale, output)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every prediction of the same data and noise gives the data back.
    #[test]
    fn every_prediction_recovers_the_clean_latents() {
        let one = |value: f64| Latents::new([1, 1, 1, 1], vec![value as f32]).unwrap();
        let (clean, noise, sigma) = (0.7, -1.3, 0.4_f64);
        let exploding = clean + sigma * noise;
        let v = (noise - sigma * clean) / (sigma * sigma + 1.0).sqrt(); // alpha·noise − sigma·clean, both preserving
        for (name, x, output) in [
            ("epsilon", exploding, noise),
            ("v_prediction", exploding, v),
            ("sample", exploding, clean),
            ("flow_prediction", (1.0 - sigma) * clean + sigma * noise, noise - clean),
        ] {
            let prediction = Prediction::parse(name).unwrap();
            let denoised = prediction.denoised(&one(x), &one(output), sigma);
            assert!((f64::from(denoised.values()[0]) - clean).abs() < 1e-6, "{name}");
        }
    }

    #[test]
    fn an_unknown_prediction_is_the_models_fault() {
        let error = Prediction::parse("x0").unwrap_err();
        assert!(matches!(error, Error::Model { .. }));
        assert_eq!(error.to_string(), "unknown prediction type `x0`");
    }
}
