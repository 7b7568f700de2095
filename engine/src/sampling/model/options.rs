//! What can be written into a `scheduler_config.json`, whatever the class.
use super::super::{BetaSchedule, Prediction, clip::Clip, samplers::dpm_solver::Algorithm};

/// `timestep_spacing`: how a run's timesteps are spread over those of training (Lin et al. 2023, table 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spacing {
    /// Whole intervals from the first training timestep; the last one is not reached.
    Leading,
    /// From the first to the last training timestep.
    Linspace,
    /// Even intervals from the last training timestep.
    Trailing,
}

/// `variance_type`, of effect in `DDPMScheduler`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VarianceType {
    /// `fixed_small` and `fixed_small_log`.
    Small,
    /// `fixed_large`.
    Large,
    /// `fixed_large_log`, of which diffusers takes the root of a negative logarithm.
    LargeLog,
}

/// Every option but the lists of numbers. Each has the name that it has in the file.
///
/// Options that a class does not have stay at their usual value, and have no effect.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "they are the switches of the file")]
pub(crate) struct SchedulerOptions {
    pub(crate) num_train_timesteps: usize,
    pub(crate) beta_start: f64,
    pub(crate) beta_end: f64,
    pub(crate) beta_schedule: BetaSchedule,
    pub(crate) rescale_betas_zero_snr: bool,
    pub(crate) prediction: Prediction,
    pub(crate) spacing: Spacing,
    pub(crate) steps_offset: usize,
    /// `timestep_type` is `continuous`.
    pub(crate) continuous: bool,
    /// `interpolation_type` is `log_linear`.
    pub(crate) log_linear: bool,
    pub(crate) use_karras_sigmas: bool,
    pub(crate) use_exponential_sigmas: bool,
    pub(crate) use_beta_sigmas: bool,
    pub(crate) use_lu_lambdas: bool,
    pub(crate) use_flow_sigmas: bool,
    pub(crate) flow_shift: f64,
    pub(crate) sigma_min: Option<f64>,
    pub(crate) sigma_max: Option<f64>,
    /// `final_sigmas_type` is `zero`.
    pub(crate) ends_at_zero: bool,
    /// The lowest half log signal-to-noise ratio that a run starts at; minus infinity by default.
    pub(crate) lambda_min_clipped: f64,
    pub(crate) set_alpha_to_one: bool,
    pub(crate) skip_prk_steps: bool,
    pub(crate) original_inference_steps: Option<usize>,
    pub(crate) timestep_scaling: f64,
    pub(crate) shift: f64,
    pub(crate) use_dynamic_shifting: bool,
    pub(crate) base_shift: f64,
    pub(crate) max_shift: f64,
    pub(crate) base_image_seq_len: usize,
    pub(crate) max_image_seq_len: usize,
    /// `time_shift_type` is `linear`.
    pub(crate) linear_shift: bool,
    pub(crate) shift_terminal: Option<f64>,
    pub(crate) stochastic_sampling: bool,
    pub(in crate::sampling) algorithm: Algorithm,
    /// `algorithm_type` is `data_prediction`, of SA-Solver.
    pub(crate) data_prediction: bool,
    pub(crate) solver_order: usize,
    /// `solver_type` is `heun`.
    pub(crate) heun: bool,
    /// `solver_type` is `bh1`.
    pub(crate) bh1: bool,
    pub(crate) lower_order_final: bool,
    pub(crate) euler_at_final: bool,
    pub(crate) predict_x0: bool,
    pub(crate) predictor_order: usize,
    pub(crate) corrector_order: usize,
    pub(crate) clip_sample: bool,
    pub(crate) clip_sample_range: f64,
    pub(crate) thresholding: bool,
    pub(crate) dynamic_thresholding_ratio: f64,
    pub(crate) sample_max_value: f64,
    pub(crate) variance: VarianceType,
    pub(crate) noise_sampler_seed: Option<usize>,
}

impl SchedulerOptions {
    /// What most classes have in common.
    pub(super) const USUAL: Self = Self {
        num_train_timesteps: 1000,
        beta_start: 0.0001,
        beta_end: 0.02,
        beta_schedule: BetaSchedule::Linear,
        rescale_betas_zero_snr: false,
        prediction: Prediction::Epsilon,
        spacing: Spacing::Linspace,
        steps_offset: 0,
        continuous: false,
        log_linear: false,
        use_karras_sigmas: false,
        use_exponential_sigmas: false,
        use_beta_sigmas: false,
        use_lu_lambdas: false,
        use_flow_sigmas: false,
        flow_shift: 1.0,
        sigma_min: None,
        sigma_max: None,
        ends_at_zero: true,
        lambda_min_clipped: f64::NEG_INFINITY,
        set_alpha_to_one: true,
        skip_prk_steps: false,
        original_inference_steps: Some(50),
        timestep_scaling: 10.0,
        shift: 1.0,
        use_dynamic_shifting: false,
        base_shift: 0.5,
        max_shift: 1.15,
        base_image_seq_len: 256,
        max_image_seq_len: 4096,
        linear_shift: false,
        shift_terminal: None,
        stochastic_sampling: false,
        algorithm: Algorithm::DpmSolverPlusPlus,
        data_prediction: true,
        solver_order: 2,
        heun: false,
        bh1: false,
        lower_order_final: true,
        euler_at_final: false,
        predict_x0: true,
        predictor_order: 2,
        corrector_order: 2,
        clip_sample: false,
        clip_sample_range: 1.0,
        thresholding: false,
        dynamic_thresholding_ratio: 0.995,
        sample_max_value: 1.0,
        variance: VarianceType::Small,
        noise_sampler_seed: None,
    };

    /// `USUAL` with the betas of the classes that came from k-diffusion.
    pub(super) const OF_K_DIFFUSION: Self = Self { beta_start: 0.00085, beta_end: 0.012, ..Self::USUAL };

    /// How clean estimates are clipped; thresholding comes first, as in diffusers.
    pub(super) fn clip(&self) -> Clip {
        if self.thresholding {
            Clip::Dynamic { ratio: self.dynamic_thresholding_ratio, max: self.sample_max_value }
        } else if self.clip_sample {
            Clip::Range(self.clip_sample_range)
        } else {
            Clip::None
        }
    }
}
