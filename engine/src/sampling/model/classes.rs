//! Which classes of diffusers can be followed, and which options does each have? The numbers are those of the
//! constructors in `src/diffusers/schedulers` of diffusers 0.42.1.
use super::{
    super::{BetaSchedule, Prediction, samplers::dpm_solver::Algorithm},
    options::{SchedulerOptions, Spacing},
};
use Prediction::{Epsilon, Flow, Sample, V};

/// The classes of diffusers that can be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchedulerClass {
    /// `EulerDiscreteScheduler`
    Euler,
    /// `EulerAncestralDiscreteScheduler`
    EulerAncestral,
    /// `HeunDiscreteScheduler`
    Heun,
    /// `LMSDiscreteScheduler`
    Lms,
    /// `KDPM2DiscreteScheduler`
    Kdpm2,
    /// `KDPM2AncestralDiscreteScheduler`
    Kdpm2Ancestral,
    /// `DPMSolverMultistepScheduler`
    DpmSolverMultistep,
    /// `DPMSolverSinglestepScheduler`
    DpmSolverSinglestep,
    /// `DPMSolverSDEScheduler`
    DpmSolverSde,
    /// `UniPCMultistepScheduler`
    UniPc,
    /// `DEISMultistepScheduler`
    Deis,
    /// `SASolverScheduler`
    SaSolver,
    /// `DDIMScheduler`
    Ddim,
    /// `DDPMScheduler`
    Ddpm,
    /// `PNDMScheduler`
    Pndm,
    /// `IPNDMScheduler`
    Ipndm,
    /// `LCMScheduler`
    Lcm,
    /// `TCDScheduler`
    Tcd,
    /// `FlowMatchEulerDiscreteScheduler`
    FlowMatchEuler,
    /// `FlowMatchHeunDiscreteScheduler`
    FlowMatchHeun,
}

/// A word that a class takes for an option, the word that it is then known by, and what it means.
pub(crate) type Word = (&'static str, &'static str, fn(&mut SchedulerOptions));

/// A class of diffusers.
#[derive(Debug)]
pub(crate) struct ClassRow {
    /// The class.
    pub(crate) class: SchedulerClass,
    /// `_class_name`.
    pub(crate) name: &'static str,
    /// Its options, in groups; those beside them in a file have no effect.
    pub(crate) fields: &'static [&'static [&'static str]],
    /// Its defaults.
    pub(crate) usual: SchedulerOptions,
    /// What networks may predict.
    pub(crate) predictions: &'static [Prediction],
    /// The words that it takes for `beta_schedule`, `algorithm_type` and `solver_type`.
    pub(crate) words: &'static [(&'static str, &'static [Word])],
}

impl ClassRow {
    /// Whether the class has the option `field`.
    pub(crate) fn has(&self, field: &str) -> bool {
        self.fields.iter().any(|group| group.contains(&field))
    }
}

const TRAINING: &[&str] = &["num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas"];
const PREDICTION: &[&str] = &["prediction_type"];
const SPACING: &[&str] = &["timestep_spacing", "steps_offset"];
const CURVES: &[&str] = &["use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"];
const RESCALED: &[&str] = &["rescale_betas_zero_snr"];
const ENDS: &[&str] = &["final_sigmas_type"];
const FLOW: &[&str] = &["use_flow_sigmas", "flow_shift"];
const SHIFTING: &[&str] = &["use_dynamic_shifting", "time_shift_type"];
const THRESHOLD: &[&str] = &["thresholding", "dynamic_thresholding_ratio", "sample_max_value"];
const CLIP: &[&str] = &["clip_sample", "clip_sample_range"];
const SOLVER: &[&str] = &["solver_order", "algorithm_type", "solver_type", "lower_order_final"];
const CLIPPED: &[&str] = &["lambda_min_clipped", "variance_type"];
const DISTILLED: &[&str] = &["original_inference_steps", "set_alpha_to_one", "timestep_scaling"];

const BETAS: &[Word] = &[
    ("linear", "linear", |o| o.beta_schedule = BetaSchedule::Linear),
    ("scaled_linear", "scaled_linear", |o| o.beta_schedule = BetaSchedule::ScaledLinear),
    ("squaredcos_cap_v2", "squaredcos_cap_v2", |o| o.beta_schedule = BetaSchedule::Cosine),
];
const BETAS_OF_HEUN: &[Word] =
    &[BETAS[0], BETAS[1], BETAS[2], ("exp", "exp", |o| o.beta_schedule = BetaSchedule::Exponential)];
const BETAS_OF_DDPM: &[Word] = &[
    BETAS[0],
    BETAS[1],
    BETAS[2],
    ("laplace", "laplace", |o| o.beta_schedule = BetaSchedule::Laplace),
    ("sigmoid", "sigmoid", |o| o.beta_schedule = BetaSchedule::Sigmoid),
];

const SINGLESTEP: &[Word] = &[
    ("dpmsolver", "dpmsolver", |o| o.algorithm = Algorithm::DpmSolver),
    ("dpmsolver++", "dpmsolver++", |o| o.algorithm = Algorithm::DpmSolverPlusPlus),
    ("sde-dpmsolver++", "sde-dpmsolver++", |o| o.algorithm = Algorithm::SdeDpmSolverPlusPlus),
];
const MULTISTEP: &[Word] = &[
    SINGLESTEP[0],
    SINGLESTEP[1],
    SINGLESTEP[2],
    ("sde-dpmsolver", "sde-dpmsolver", |o| o.algorithm = Algorithm::SdeDpmSolver),
];
const MIDPOINT_OR_HEUN: &[Word] = &[
    ("midpoint", "midpoint", |o| o.heun = false),
    ("heun", "heun", |o| o.heun = true),
    ("logrho", "midpoint", |o| o.heun = false),
    ("bh1", "midpoint", |o| o.heun = false),
    ("bh2", "midpoint", |o| o.heun = false),
];
const BH: &[Word] = &[
    ("bh1", "bh1", |o| o.bh1 = true),
    ("bh2", "bh2", |o| o.bh1 = false),
    ("midpoint", "bh2", |o| o.bh1 = false),
    ("heun", "bh2", |o| o.bh1 = false),
    ("logrho", "bh2", |o| o.bh1 = false),
];
const ONLY_DEIS: &[Word] = &[("deis", "deis", |_| {}), ("dpmsolver", "deis", |_| {}), ("dpmsolver++", "deis", |_| {})];
const ONLY_LOGRHO: &[Word] = &[
    ("logrho", "logrho", |_| {}),
    ("midpoint", "logrho", |_| {}),
    ("heun", "logrho", |_| {}),
    ("bh1", "logrho", |_| {}),
    ("bh2", "logrho", |_| {}),
];
const SA: &[Word] = &[
    ("data_prediction", "data_prediction", |o| o.data_prediction = true),
    ("noise_prediction", "noise_prediction", |o| o.data_prediction = false),
];

/// A class of k-diffusion's kind, whose latents have the variance of their noise level.
const PLAIN: ClassRow = ClassRow {
    class: SchedulerClass::Lms,
    name: "LMSDiscreteScheduler",
    fields: &[TRAINING, PREDICTION, SPACING, CURVES],
    usual: SchedulerOptions::USUAL,
    predictions: &[Epsilon, V, Sample],
    words: &[("beta_schedule", BETAS)],
};

/// A class that solves in the logarithm of the signal-to-noise ratio.
const SOLVERS: ClassRow =
    ClassRow { predictions: &[Epsilon, V, Sample, Flow], usual: SchedulerOptions::USUAL, ..PLAIN };

/// Every class that can be followed.
pub(crate) const CLASSES: &[ClassRow] = &[
    ClassRow {
        class: SchedulerClass::Euler,
        name: "EulerDiscreteScheduler",
        fields: &[
            TRAINING,
            PREDICTION,
            SPACING,
            CURVES,
            RESCALED,
            ENDS,
            &["interpolation_type", "timestep_type", "sigma_min", "sigma_max"],
        ],
        ..PLAIN
    },
    ClassRow {
        class: SchedulerClass::EulerAncestral,
        name: "EulerAncestralDiscreteScheduler",
        fields: &[TRAINING, PREDICTION, SPACING, RESCALED],
        predictions: &[Epsilon, V],
        ..PLAIN
    },
    ClassRow {
        class: SchedulerClass::Heun,
        name: "HeunDiscreteScheduler",
        fields: &[TRAINING, PREDICTION, SPACING, CURVES, CLIP],
        usual: SchedulerOptions::OF_K_DIFFUSION,
        words: &[("beta_schedule", BETAS_OF_HEUN)],
        ..PLAIN
    },
    PLAIN,
    ClassRow {
        class: SchedulerClass::Kdpm2,
        name: "KDPM2DiscreteScheduler",
        usual: SchedulerOptions::OF_K_DIFFUSION,
        predictions: &[Epsilon, V],
        ..PLAIN
    },
    ClassRow {
        class: SchedulerClass::Kdpm2Ancestral,
        name: "KDPM2AncestralDiscreteScheduler",
        usual: SchedulerOptions::OF_K_DIFFUSION,
        predictions: &[Epsilon, V],
        ..PLAIN
    },
    ClassRow {
        class: SchedulerClass::DpmSolverMultistep,
        name: "DPMSolverMultistepScheduler",
        fields: &[
            TRAINING,
            PREDICTION,
            SPACING,
            CURVES,
            RESCALED,
            ENDS,
            FLOW,
            SHIFTING,
            THRESHOLD,
            SOLVER,
            CLIPPED,
            &["euler_at_final", "use_lu_lambdas"],
        ],
        words: &[("beta_schedule", BETAS), ("algorithm_type", MULTISTEP), ("solver_type", MIDPOINT_OR_HEUN)],
        ..SOLVERS
    },
    ClassRow {
        class: SchedulerClass::DpmSolverSinglestep,
        name: "DPMSolverSinglestepScheduler",
        fields: &[TRAINING, PREDICTION, CURVES, ENDS, FLOW, SHIFTING, THRESHOLD, SOLVER, CLIPPED],
        usual: SchedulerOptions { lower_order_final: false, ..SchedulerOptions::USUAL },
        words: &[("beta_schedule", BETAS), ("algorithm_type", SINGLESTEP), ("solver_type", MIDPOINT_OR_HEUN)],
        ..SOLVERS
    },
    ClassRow {
        class: SchedulerClass::DpmSolverSde,
        name: "DPMSolverSDEScheduler",
        fields: &[TRAINING, PREDICTION, SPACING, CURVES, &["noise_sampler_seed"]],
        usual: SchedulerOptions::OF_K_DIFFUSION,
        predictions: &[Epsilon, V],
        ..PLAIN
    },
    ClassRow {
        class: SchedulerClass::UniPc,
        name: "UniPCMultistepScheduler",
        fields: &[
            TRAINING,
            PREDICTION,
            SPACING,
            CURVES,
            RESCALED,
            ENDS,
            FLOW,
            SHIFTING,
            THRESHOLD,
            &["solver_order", "solver_type", "lower_order_final", "predict_x0", "disable_corrector", "solver_p"],
            &["sigma_min", "sigma_max", "shift_terminal"],
        ],
        words: &[("beta_schedule", BETAS), ("solver_type", BH)],
        ..SOLVERS
    },
    ClassRow {
        class: SchedulerClass::Deis,
        name: "DEISMultistepScheduler",
        fields: &[TRAINING, PREDICTION, SPACING, CURVES, FLOW, SHIFTING, THRESHOLD, SOLVER],
        words: &[("beta_schedule", BETAS), ("algorithm_type", ONLY_DEIS), ("solver_type", ONLY_LOGRHO)],
        ..SOLVERS
    },
    ClassRow {
        class: SchedulerClass::SaSolver,
        name: "SASolverScheduler",
        fields: &[
            TRAINING,
            PREDICTION,
            SPACING,
            CURVES,
            FLOW,
            THRESHOLD,
            CLIPPED,
            &["predictor_order", "corrector_order", "tau_func", "algorithm_type", "lower_order_final"],
        ],
        words: &[("beta_schedule", BETAS), ("algorithm_type", SA)],
        ..SOLVERS
    },
    ClassRow {
        class: SchedulerClass::Ddim,
        name: "DDIMScheduler",
        fields: &[TRAINING, PREDICTION, SPACING, RESCALED, CLIP, THRESHOLD, &["set_alpha_to_one"]],
        usual: SchedulerOptions { spacing: Spacing::Leading, clip_sample: true, ..SchedulerOptions::USUAL },
        ..PLAIN
    },
    ClassRow {
        class: SchedulerClass::Ddpm,
        name: "DDPMScheduler",
        fields: &[TRAINING, PREDICTION, SPACING, RESCALED, CLIP, THRESHOLD, &["variance_type"]],
        usual: SchedulerOptions { spacing: Spacing::Leading, clip_sample: true, ..SchedulerOptions::USUAL },
        words: &[("beta_schedule", BETAS_OF_DDPM)],
        ..PLAIN
    },
    ClassRow {
        class: SchedulerClass::Pndm,
        name: "PNDMScheduler",
        fields: &[TRAINING, PREDICTION, SPACING, &["skip_prk_steps", "set_alpha_to_one"]],
        usual: SchedulerOptions { spacing: Spacing::Leading, set_alpha_to_one: false, ..SchedulerOptions::USUAL },
        predictions: &[Epsilon, V],
        ..PLAIN
    },
    ClassRow {
        class: SchedulerClass::Ipndm,
        name: "IPNDMScheduler",
        fields: &[&["num_train_timesteps", "trained_betas"]],
        usual: SchedulerOptions { prediction: V, ..SchedulerOptions::USUAL },
        predictions: &[V],
        words: &[],
    },
    ClassRow {
        class: SchedulerClass::Lcm,
        name: "LCMScheduler",
        fields: &[TRAINING, PREDICTION, SPACING, RESCALED, CLIP, THRESHOLD, DISTILLED],
        usual: DISTILLATION,
        ..PLAIN
    },
    ClassRow {
        class: SchedulerClass::Tcd,
        name: "TCDScheduler",
        fields: &[TRAINING, PREDICTION, SPACING, RESCALED, CLIP, THRESHOLD, DISTILLED],
        usual: DISTILLATION,
        ..PLAIN
    },
    ClassRow {
        class: SchedulerClass::FlowMatchEuler,
        name: "FlowMatchEulerDiscreteScheduler",
        fields: &[
            CURVES,
            SHIFTING,
            &["num_train_timesteps", "shift", "base_shift", "max_shift", "base_image_seq_len", "max_image_seq_len"],
            &["invert_sigmas", "shift_terminal", "stochastic_sampling"],
        ],
        usual: SchedulerOptions { prediction: Flow, ..SchedulerOptions::USUAL },
        predictions: &[Flow],
        words: &[],
    },
    ClassRow {
        class: SchedulerClass::FlowMatchHeun,
        name: "FlowMatchHeunDiscreteScheduler",
        fields: &[&["num_train_timesteps", "shift"]],
        usual: SchedulerOptions { prediction: Flow, ..SchedulerOptions::USUAL },
        predictions: &[Flow],
        words: &[],
    },
];

/// The defaults of the two classes for distilled networks.
const DISTILLATION: SchedulerOptions = SchedulerOptions {
    beta_schedule: BetaSchedule::ScaledLinear,
    spacing: Spacing::Leading,
    ..SchedulerOptions::OF_K_DIFFUSION
};

impl SchedulerClass {
    /// What is known of the class.
    pub(crate) fn row(self) -> &'static ClassRow {
        CLASSES.iter().find(|row| row.class == self).unwrap_or(&PLAIN)
    }

    /// The class that diffusers calls `name`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        CLASSES.iter().find(|row| row.name == name).map(|row| row.class)
    }

    /// Whether latents keep unit variance in diffusers' class.
    pub(crate) fn keeps_variance(self) -> bool {
        !matches!(
            self,
            Self::Euler
                | Self::EulerAncestral
                | Self::Heun
                | Self::Lms
                | Self::Kdpm2
                | Self::Kdpm2Ancestral
                | Self::DpmSolverSde
        )
    }

    /// Whether the class was made for rectified flow.
    pub(crate) fn is_flow(self) -> bool {
        matches!(self, Self::FlowMatchEuler | Self::FlowMatchHeun)
    }

    /// Whether the class can be told to solve a rectified flow, by `use_flow_sigmas`.
    pub(crate) fn can_flow(self) -> bool {
        self.row().has("use_flow_sigmas")
    }
}
