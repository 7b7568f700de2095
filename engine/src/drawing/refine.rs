//! How does a second network, the refiner of SDXL, come to take over before the end of a run?
use super::complete::{Untaken, untaken};
use crate::{
    Error, Pipeline, Request, Result,
    conditioner::Conditioner,
    conditioning::Conditioning,
    families::is_consistency,
    network::{Conditions, Network},
    plan::Plan,
    prompt::Along,
    survey::{Elsewhere, survey},
};

/// A network that takes over, with its own text encoders.
pub(crate) struct LoadedRefiner {
    /// The name or folder that it was asked for by.
    asked: String,
    conditioner: Conditioner,
    network: Network,
}

/// What the refiner of one run goes by.
pub(super) struct Refining {
    prompts: Conditioning,
    /// The timestep below which it takes over.
    below: f64,
}

impl Refining {
    /// The conditions of the run, with these prompts.
    pub(super) fn conditions<'a>(&'a self, base: Conditions<'a>) -> Conditions<'a> {
        Conditions { prompts: &self.prompts, ..base }
    }

    pub(super) fn below(&self) -> f64 {
        self.below
    }
}

impl LoadedRefiner {
    pub(super) fn network(&mut self) -> &mut Network {
        &mut self.network
    }
}

impl Pipeline {
    /// What the refiner of `request` goes by in a run of `plan`, if it asks for one.
    ///
    /// # Errors
    /// [`Error::Model`] if it is no network for the latents of this model.
    pub(super) fn refining(
        &mut self,
        request: &Request,
        plan: &Plan,
        along: Along,
        negative: bool,
    ) -> Result<Option<Refining>> {
        let Some(asked) = &request.refiner else { return Ok(None) };
        let (_, levels) = plan.training(&self.config);
        let timesteps = levels.timesteps() as f64;
        // `discrete_timestep_cutoff` of diffusers
        let below = (timesteps - asked.switch_at * timesteps).round_ties_even();
        let refiner = match self.refiner.take().filter(|refiner| refiner.asked == asked.model) {
            Some(refiner) => refiner,
            None => Box::new(self.load_refiner(&asked.model)?),
        };
        let refiner = self.refiner.insert(refiner);
        let untaken = untaken(request, &[self.network.inputs(), refiner.network.inputs()]);
        if let Some(Untaken { what, hint }) = untaken {
            let what = format!("{what} is given, which neither the model nor its refiner takes");
            return Err(Error::request(what, hint));
        }
        let prompts = refiner.conditioner.conditioning(request, along, negative)?;
        Ok(Some(Refining { prompts, below }))
    }

    fn load_refiner(&self, asked: &str) -> Result<LoadedRefiner> {
        let (model, _, files) = self.loader.catalogue.open(Some(asked))?;
        let survey = survey(&files, Elsewhere::default())?;
        let config = survey.config(&files)?;
        if (survey.family.name, config.prediction) != (self.family.name, self.config.prediction) {
            return Err(unlike(&model.name, &self.name.name));
        }
        let (encoders, network) = self.loader.network(&survey, config.states)?;
        let network = network.of_latents(self.decoder.format().channels)?;
        let taught = |network: &Network| is_consistency(network.inputs());
        if network.kind() != self.network.kind() || taught(&network) != taught(&self.network) {
            return Err(unlike(&model.name, &self.name.name));
        }
        let conditioner = Conditioner::new(encoders, survey.family, network.inputs().to_vec(), config.empty_is_zero)?;
        Ok(LoadedRefiner { asked: asked.into(), conditioner, network })
    }
}

fn unlike(refiner: &str, model: &str) -> Error {
    Error::model(
        format!("model `{refiner}` cannot refine what `{model}` draws: they are of different kinds"),
        "use the refiner that was made for the model",
    )
}
