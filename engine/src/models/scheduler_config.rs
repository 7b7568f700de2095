//! Which scheduler does `scheduler/scheduler_config.json` ask for, by itself and for a sampler by name?
use super::scheduler_fields::{fault, read};
use crate::{
    Error, Result,
    sampling::{CLASSES, ModelScheduler, NoiseSchedule, Prediction, SAMPLERS, Sampler, SchedulerClass, TerminalSignal},
};
use serde_json::{Map, Value};

/// What to do where nothing is better.
pub(super) const CHOOSE_ANOTHER: &str = "choose another with `--sampler` and `--scheduler`";

/// Pipelines of diffusers that correct options of old files: for some, `steps_offset` to 1 and `clip_sample` to false,
/// for others, `skip_prk_steps` to true in its place.
const CORRECTING: [&str; 3] = ["StableDiffusionPipeline", "OnnxStableDiffusionPipeline", "ORTStableDiffusionPipeline"];
const CORRECTING_INPAINT: [&str; 3] =
    ["StableDiffusionInpaintPipeline", "OnnxStableDiffusionInpaintPipeline", "ORTStableDiffusionInpaintPipeline"];

/// `scheduler_config.json`.
#[derive(Clone, Debug)]
pub(crate) struct SchedulerFile {
    class: String,
    fields: Map<String, Value>,
    /// What the model's pipeline in diffusers puts in place of its own.
    corrections: Vec<(&'static str, Value)>,
}

impl SchedulerFile {
    /// The file with these `fields`, in a model for this `pipeline` of diffusers, or for none of them.
    pub(crate) fn new(mut fields: Map<String, Value>, pipeline: Option<&str>) -> Self {
        let class = fields.remove("_class_name").and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default();
        // written where a file lists the defaults of another class
        if let Some(Value::Array(defaults)) = fields.remove("_use_default_values") {
            defaults.iter().filter_map(Value::as_str).for_each(|name| {
                fields.remove(name);
            });
        }
        let other = match pipeline {
            Some(name) if CORRECTING.contains(&name) => Some(("clip_sample", Value::from(false))),
            Some(name) if CORRECTING_INPAINT.contains(&name) => Some(("skip_prk_steps", Value::from(true))),
            _ => None,
        };
        let corrections = other.map(|other| vec![("steps_offset", Value::from(1)), other]).unwrap_or_default();
        Self { class, fields, corrections }
    }

    /// The levels of training for schedules by name.
    ///
    /// Where betas are rescaled to leave no signal, 2^-24 is left, as in diffusers' Euler.
    pub(crate) fn noise_schedule(&self) -> Result<NoiseSchedule> {
        if ["EDM", "SCM"].iter().any(|kind| self.class.starts_with(kind)) || self.class.is_empty() {
            return Err(Error::model(
                format!("the model was trained for `{}`, not for noise levels made of betas or a flow", self.class),
                "use a model of the kind of Stable Diffusion 1 or 2",
            ));
        }
        let training = ["num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "shift", "max_shift"];
        let kept = training.iter().chain(&["use_dynamic_shifting", "time_shift_type", "rescale_betas_zero_snr"]);
        let kept = kept.filter_map(|name| self.fields.get_key_value(*name));
        let fields: Map<_, _> = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
        let class = self.known_class().unwrap_or(SchedulerClass::Euler);
        let options = read(class, &fields)?;
        if class.is_flow() {
            return Ok(ModelScheduler::new(class, options, None, Vec::new())?.noise_schedule().clone());
        }
        let betas = match self.numbers("trained_betas")? {
            Some(betas) => betas.into_iter().map(|beta| beta as f32).collect(),
            None => options.beta_schedule.betas(options.beta_start, options.beta_end, options.num_train_timesteps)?,
        };
        let terminal = if options.rescale_betas_zero_snr { TerminalSignal::Least } else { TerminalSignal::Kept };
        NoiseSchedule::trained(&betas, terminal)
    }

    /// What the network predicts.
    pub(crate) fn prediction(&self) -> Result<Prediction> {
        match (self.known_class().map(SchedulerClass::row), self.fields.get("prediction_type")) {
            (Some(row), _) if !row.has("prediction_type") => Ok(row.usual.prediction),
            (_, Some(Value::String(name))) => Prediction::parse(name),
            _ => Ok(Prediction::Epsilon),
        }
    }

    /// The scheduler of the class named here, as the model's pipeline in diffusers configures it.
    pub(crate) fn own(&self) -> Result<ModelScheduler> {
        let class = self.known_class().ok_or_else(|| {
            let names: Vec<&str> = CLASSES.iter().map(|row| row.name).collect();
            Error::model(
                format!("the model's scheduler `{}` is not supported", self.class),
                format!("{CHOOSE_ANOTHER}; models may bring: {}", names.join(", ")),
            )
        })?;
        let mut fields = self.fields.clone();
        for (name, value) in self.corrections.iter().filter(|(name, _)| class.row().has(name)) {
            fields.insert((*name).into(), value.clone());
        }
        self.build(class, &fields)
    }

    /// What a user of diffusers gets who puts `sampler` in place of the model's own scheduler: the class that does the
    /// same, `from_config` of the model's configuration. For samplers that diffusers lacks, Euler's levels.
    ///
    /// A rectified flow stays one: `use_flow_sigmas` is set where the class has it.
    pub(crate) fn for_sampler(&self, sampler: &'static Sampler) -> Result<ModelScheduler> {
        let flow = self.known_class().is_some_and(SchedulerClass::is_flow);
        let dynamic = self.is_dynamic();
        let solves_flow =
            |class: SchedulerClass| class.can_flow() && (!dynamic || class.row().has("use_dynamic_shifting"));
        let class = match sampler.class.and_then(SchedulerClass::named) {
            Some(class) if !flow || solves_flow(class) => class,
            Some(SchedulerClass::Euler) => SchedulerClass::FlowMatchEuler,
            Some(SchedulerClass::Heun) if !dynamic => SchedulerClass::FlowMatchHeun,
            _ => {
                let class = if flow { SchedulerClass::FlowMatchEuler } else { SchedulerClass::Euler };
                return Ok(self.moved_to(class, &[])?.with_sampler(sampler));
            }
        };
        self.moved_to(class, sampler.class_options)
    }

    /// The sampler by name that leaves the model's own scheduler as it is, if there is one.
    pub(crate) fn own_sampler(&self) -> Option<&'static Sampler> {
        let own = self.own().ok()?;
        let stands = |sampler: &&'static Sampler| self.for_sampler(sampler).is_ok_and(|other| other.is(&own));
        std::iter::once(own.sampler()).chain(SAMPLERS.iter().filter(|sampler| sampler.class.is_some())).find(stands)
    }

    /// `class.from_config(config, **options)`; a class that is told to solve a flow is told its shift, too.
    pub(super) fn moved_to(&self, class: SchedulerClass, options: &[(&str, &str)]) -> Result<ModelScheduler> {
        let mut fields = self.passed_on();
        let flow = self.known_class().is_some_and(SchedulerClass::is_flow);
        if flow && self.is_dynamic() && !class.row().has("use_dynamic_shifting") {
            return Err(Error::model(
                format!(
                    "{} does not shift noise levels by the size of the picture, as the model asks",
                    class.row().name
                ),
                CHOOSE_ANOTHER,
            ));
        }
        if class.can_flow() && flow {
            fields.insert("use_flow_sigmas".into(), true.into());
            fields.insert("prediction_type".into(), Prediction::Flow.name().into());
            fields.insert("flow_shift".into(), self.fields.get("shift").cloned().unwrap_or_else(|| 1.0.into()));
        }
        for (name, value) in options {
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(*value));
            fields.insert((*name).into(), value);
        }
        self.build(class, &fields)
    }

    fn is_dynamic(&self) -> bool {
        self.fields.get("use_dynamic_shifting") == Some(&Value::Bool(true))
    }

    fn known_class(&self) -> Option<SchedulerClass> {
        SchedulerClass::named(&self.class)
    }

    /// The options as the model's own class passes them on: words as it knows them, and corrected where it says them.
    fn passed_on(&self) -> Map<String, Value> {
        let mut fields = self.fields.clone();
        let words = self.known_class().map_or(&[][..], |class| class.row().words);
        for (name, words) in words {
            if let Some(Value::String(word)) = fields.get_mut(*name)
                && let Some((_, known, _)) = words.iter().find(|(name, ..)| name == word)
            {
                *word = (*known).into();
            }
        }
        for (name, value) in &self.corrections {
            fields.entry(*name).and_modify(|old| *old = value.clone());
        }
        fields
    }

    fn build(&self, class: SchedulerClass, fields: &Map<String, Value>) -> Result<ModelScheduler> {
        let options = read(class, fields)?;
        let row = class.row();
        let betas = self.numbers("trained_betas")?.filter(|_| row.has("trained_betas"));
        if betas.is_some() && class == SchedulerClass::Ipndm {
            return Err(fault("trained_betas", &Value::from("..."), "leave it out: IPNDM then has its own"));
        }
        let betas = betas.map(|betas| betas.into_iter().map(|beta| beta as f32).collect::<Vec<_>>());
        let steps = self.numbers("disable_corrector")?.unwrap_or_default();
        ModelScheduler::new(class, options, betas.as_deref(), steps.into_iter().map(|step| step as usize).collect())
    }

    /// A list of numbers, where there is one.
    fn numbers(&self, name: &str) -> Result<Option<Vec<f64>>> {
        match self.fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Array(list)) => {
                let numbers: Option<Vec<f64>> = list.iter().map(Value::as_f64).collect();
                numbers.map(Some).ok_or_else(|| fault(name, &Value::from("[...]"), "write a list of numbers"))
            }
            Some(other) => Err(fault(name, other, "write a list of numbers")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::{FreshNoise, Process, SAMPLERS, find_sampler};
    use serde_json::json;

    fn file(fields: &Value) -> SchedulerFile {
        SchedulerFile::new(fields.as_object().unwrap().clone(), None)
    }

    /// The timesteps of a run.
    fn timesteps(scheduler: &ModelScheduler, steps: usize) -> Vec<i64> {
        let schedule = scheduler.schedule(steps, Some(4096)).unwrap();
        let levels = &schedule.sigmas()[..steps];
        levels.iter().map(|sigma| schedule.timestep(*sigma, scheduler.noise_schedule()).round() as i64).collect()
    }

    /// The file that Stable Diffusion 1.5 comes with.
    fn sd_1_5() -> Value {
        json!({"_class_name": "PNDMScheduler", "_diffusers_version": "0.6.0", "beta_end": 0.012,
            "beta_schedule": "scaled_linear", "beta_start": 0.00085, "num_train_timesteps": 1000,
            "set_alpha_to_one": false, "skip_prk_steps": true, "steps_offset": 1, "trained_betas": null,
            "clip_sample": false})
    }

    #[test]
    fn the_files_of_well_known_models_are_followed() {
        let sd = |more: Value| {
            let mut fields = sd_1_5();
            fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            fields
        };
        let (sd_2_1, sdxl, turbo, lcm) = (
            json!({"_class_name": "DDIMScheduler", "prediction_type": "v_prediction"}),
            json!({"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "leading"}),
            json!({"_class_name": "EulerAncestralDiscreteScheduler", "timestep_spacing": "trailing"}),
            json!({"_class_name": "LCMScheduler", "original_inference_steps": 50, "timestep_scaling": 10.0}),
        );
        let (sd3, flux) = (
            json!({"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0}),
            json!({"_class_name": "FlowMatchEulerDiscreteScheduler", "base_image_seq_len": 256, "base_shift": 0.5,
                "max_image_seq_len": 4096, "max_shift": 1.15, "shift": 3.0, "use_dynamic_shifting": true}),
        );
        for (fields, sampler, prediction, wanted) in [
            (sd_1_5(), "plms", Prediction::Epsilon, [751, 501, 251, 1]),
            (sd(sd_2_1), "ddim", Prediction::V, [751, 501, 251, 1]),
            (sd(sdxl), "euler", Prediction::Epsilon, [751, 501, 251, 1]),
            (sd(turbo), "euler_ancestral", Prediction::Epsilon, [999, 749, 499, 249]),
            (sd(lcm), "lcm", Prediction::Epsilon, [999, 759, 499, 259]),
            (sd3, "euler", Prediction::Flow, [1000, 858, 602, 9]),
            (flux, "euler", Prediction::Flow, [1000, 863, 613, 3]),
        ] {
            let own = file(&fields).own().unwrap();
            assert_eq!((own.sampler().name, own.prediction()), (sampler, prediction), "{fields}");
            assert_eq!(timesteps(&own, 4), wanted, "{fields}");
        }
    }

    #[test]
    fn what_cannot_be_followed_is_refused_by_name_and_with_a_remedy() {
        let [multistep, euler, unipc, flow] =
            ["DPMSolverMultistep", "EulerDiscrete", "UniPCMultistep", "FlowMatchEulerDiscrete"];
        for (class, fields, word) in [
            ("DDPM", json!({"variance_type": "learned_range"}), "variance_type"),
            ("DDPM", json!({"variance_type": "fixed_large_log"}), "variance_type"),
            ("SASolver", json!({"tau_func": "f"}), "tau_func"),
            (unipc, json!({"solver_p": {"a": 1}}), "solver_p"),
            (unipc, json!({"predict_x0": false}), "predict_x0"),
            (unipc, json!({"solver_type": "bh1"}), "bh1"),
            (unipc, json!({"lower_order_final": false}), "lower_order_final"),
            (unipc, json!({"shift_terminal": 0.1}), "shift_terminal"),
            (flow, json!({"invert_sigmas": true}), "invert_sigmas"),
            ("IPNDM", json!({"trained_betas": [0.1, 0.2]}), "trained_betas"),
            (euler, json!({"timestep_spacing": "odd"}), "odd"),
            (euler, json!({"timestep_spacing": null}), "timestep_spacing"),
            (euler, json!({"beta_schedule": "sigmoid"}), "sigmoid"),
            (euler, json!({"prediction_type": "flow_prediction"}), "flow_prediction"),
            ("KDPM2Discrete", json!({"prediction_type": "sample"}), "sample"),
            (euler, json!({"steps_offset": 18_446_744_073_709_551_615_u64}), "steps_offset"),
            (euler, json!({"num_train_timesteps": 1_000_000_000_000_000_000_u64}), "1000000000000000000"),
            (euler, json!({"use_karras_sigmas": true, "use_beta_sigmas": true}), "use_beta_sigmas"),
            (euler, json!({"trained_betas": [0.1, 0.2]}), "trained_betas"),
            (euler, json!({"beta_start": 0.5, "beta_end": 0.9}), "noise levels"),
            (multistep, json!({"algorithm_type": "dpmsolver"}), "final_sigmas_type"),
            (multistep, json!({"algorithm_type": "deis"}), "deis"),
            (multistep, json!({"solver_order": 4}), "solver_order"),
            (multistep, json!({"use_flow_sigmas": true}), "use_flow_sigmas"),
            ("LCM", json!({"original_inference_steps": 5000}), "original_inference_steps"),
            ("EDMEuler", json!({}), "EDMEulerScheduler"),
            ("EDMDPMSolverMultistep", json!({}), "EDMDPMSolverMultistepScheduler"),
            ("SCM", json!({}), "SCMScheduler"),
        ] {
            let mut fields = fields.as_object().unwrap().clone();
            fields.insert("_class_name".into(), format!("{class}Scheduler").into());
            let error = SchedulerFile::new(fields.clone(), None).own().unwrap_err();
            assert!(error.to_string().contains(word), "{fields:?}: {error}");
            assert!(matches!(error, Error::Model { .. }) && error.hint().is_some_and(|hint| !hint.is_empty()));
        }
    }

    #[test]
    fn what_a_class_does_not_have_is_ignored() {
        let plain = file(&json!({"_class_name": "DDIMScheduler"})).own().unwrap();
        let more = json!({"_class_name": "DDIMScheduler", "skip_prk_steps": true, "use_karras_sigmas": true, "x": []});
        assert_eq!(timesteps(&file(&more).own().unwrap(), 4), timesteps(&plain, 4));
    }

    #[test]
    fn models_for_edm_and_scm_have_no_levels_here() {
        for class in ["EDMEulerScheduler", "SCMScheduler", ""] {
            assert!(file(&json!({"_class_name": class})).noise_schedule().unwrap_err().to_string().contains(class));
        }
        let flow = json!({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0});
        assert!((file(&flow).noise_schedule().unwrap().timestep(0.5) - 500.0).abs() < 1e-9);
        assert_eq!(file(&flow).prediction().unwrap(), Prediction::Flow);
    }

    /// As diffusers' pipeline does: for itself, and for what is written in the file when another class takes over.
    #[test]
    fn the_pipeline_of_stable_diffusion_corrects_old_files() {
        let read = |pipeline| {
            let fields = json!({"_class_name": "DDIMScheduler", "beta_schedule": "scaled_linear"});
            SchedulerFile::new(fields.as_object().unwrap().clone(), pipeline)
        };
        assert_eq!(timesteps(&read(Some("StableDiffusionPipeline")).own().unwrap(), 2), [501, 1]);
        assert_eq!(timesteps(&read(Some("StableDiffusionXLPipeline")).own().unwrap(), 2), [500, 0]);
        let moved = read(Some("StableDiffusionPipeline")).for_sampler(find_sampler("plms").unwrap()).unwrap();
        assert_eq!(moved.class(), SchedulerClass::Pndm);
        assert_eq!(moved.schedule(4, None).unwrap().len(), 4);
        let read = |pipeline, skips: bool| {
            let fields = json!({"_class_name": "PNDMScheduler", "skip_prk_steps": skips});
            SchedulerFile::new(fields.as_object().unwrap().clone(), Some(pipeline)).own().unwrap()
        };
        let (inpaint, plain) = ("StableDiffusionInpaintPipeline", "StableDiffusionPipeline");
        assert_eq!(format!("{:?}", read(inpaint, false)), format!("{:?}", read(plain, true)));
        assert_ne!(format!("{:?}", read(inpaint, false)), format!("{:?}", read(plain, false)));
    }

    #[test]
    fn the_sampler_of_the_models_own_scheduler_leaves_it_as_it_is() {
        let fields = json!({"_class_name": "DPMSolverMultistepScheduler", "solver_order": 3, "solver_type": "midpoint",
            "algorithm_type": "sde-dpmsolver++", "timestep_spacing": "trailing"});
        let own = file(&fields).own().unwrap();
        assert_eq!(own.noise(), FreshNoise::Independent);
        let again = file(&fields).for_sampler(file(&fields).own_sampler().unwrap()).unwrap();
        assert_eq!(format!("{own:?}"), format!("{again:?}"));
        // no name stands for this one, and a name that is given counts
        let fields = json!({"_class_name": "DPMSolverSinglestepScheduler", "solver_order": 3, "solver_type": "heun",
            "algorithm_type": "dpmsolver++"});
        assert_eq!(file(&fields).for_sampler(&SAMPLERS[0]).unwrap().class(), SchedulerClass::Euler);
        let fields = json!({"_class_name": "IPNDMScheduler"});
        assert!(file(&fields).own_sampler().is_none());
        let fields = json!({"_class_name": "DPMSolverMultistepScheduler", "solver_type": "heun"});
        assert_eq!(file(&fields).own_sampler().unwrap().name, "dpmpp_2m");
        let sde = SAMPLERS.iter().find(|sampler| sampler.name == "dpmpp_2m_sde_heun").unwrap();
        assert_eq!(file(&fields).for_sampler(sde).unwrap().noise(), FreshNoise::Independent);
    }

    #[test]
    fn every_sampler_has_a_scheduler_of_every_kind_of_model() {
        for fields in [sd_1_5(), json!({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0})] {
            let flow = fields["shift"].is_number();
            for sampler in SAMPLERS {
                let scheduler = file(&fields).for_sampler(sampler).unwrap();
                assert_eq!(scheduler.process() == Process::RectifiedFlow, flow, "{}", sampler.name);
                assert_eq!(scheduler.schedule(8, None).unwrap().len(), 8, "{}", sampler.name);
                let class = sampler.class.and_then(SchedulerClass::named);
                assert!(flow || scheduler.class() == class.unwrap_or(SchedulerClass::Euler), "{}", sampler.name);
            }
        }
    }

    #[test]
    fn each_class_stands_for_a_sampler() {
        for (class, options, sampler) in [
            ("KDPM2AncestralDiscreteScheduler", json!({}), "dpm_2_ancestral"),
            ("DPMSolverMultistepScheduler", json!({}), "dpmpp_2m"),
            ("DPMSolverMultistepScheduler", json!({"algorithm_type": "sde-dpmsolver++"}), "dpmpp_2m_sde"),
            ("DPMSolverSDEScheduler", json!({}), "dpmpp_sde"),
            ("FlowMatchHeunDiscreteScheduler", json!({}), "heun"),
        ] {
            let mut fields = options.as_object().unwrap().clone();
            fields.insert("_class_name".into(), class.into());
            assert_eq!(SchedulerFile::new(fields, None).own().unwrap().sampler().name, sampler, "{class}");
        }
    }
}
