//! Every sampler, with its names in other tools. To add one, write a function beside this file and an entry here.
use super::{
    FreshNoise::{Brownian, Independent},
    Sampler, consistency, dpm, dpmpp, euler, multistep,
};

/// What most samplers have in common.
const PLAIN: Sampler = Sampler {
    name: "",
    label: "",
    aliases: &[],
    about: "",
    automatic: "normal",
    drops_next_to_last: false,
    noise: super::FreshNoise::None,
    eta: None,
    churns: false,
    class: None,
    class_options: &[],
    run: euler::euler,
};

/// Samplers that add fresh noise by default, drawn anew for each step.
const NOISY: Sampler = Sampler { noise: Independent, eta: Some(1.0), ..PLAIN };

/// Solvers of the reverse SDE: the noise of a step belongs to its noise levels.
const SDE: Sampler = Sampler { noise: Brownian, eta: Some(1.0), automatic: "exponential", ..PLAIN };

/// Every sampler.
pub const SAMPLERS: &[Sampler] = &[
    Sampler {
        name: "euler",
        label: "Euler",
        aliases: &["k_euler"],
        about: "Euler's method",
        class: Some("EulerDiscreteScheduler"),
        run: euler::euler,
        ..PLAIN
    },
    Sampler {
        name: "euler_ancestral",
        label: "Euler a",
        aliases: &["euler_a", "k_euler_a", "k_euler_ancestral"],
        about: "Euler's method with fresh noise each step",
        class: Some("EulerAncestralDiscreteScheduler"),
        run: euler::euler_ancestral,
        ..NOISY
    },
    Sampler {
        name: "heun",
        label: "Heun",
        aliases: &["k_heun"],
        about: "Heun's method, order 2",
        class: Some("HeunDiscreteScheduler"),
        run: euler::heun,
        ..PLAIN
    },
    Sampler {
        name: "dpm_2",
        label: "DPM2",
        aliases: &["dpm2", "k_dpm_2", "kdpm_2"],
        about: "DPM-Solver-2: the midpoint method in log sigma",
        automatic: "karras",
        drops_next_to_last: true,
        class: Some("KDPM2DiscreteScheduler"),
        run: dpm::dpm_2,
        ..PLAIN
    },
    Sampler {
        name: "dpm_2_ancestral",
        label: "DPM2 a",
        aliases: &["dpm_2_a", "k_dpm_2_a", "kdpm_2_a"],
        about: "DPM-Solver-2 with fresh noise each step",
        automatic: "karras",
        drops_next_to_last: true,
        class: Some("KDPM2AncestralDiscreteScheduler"),
        run: dpm::dpm_2_ancestral,
        ..NOISY
    },
    Sampler {
        name: "lms",
        label: "LMS",
        aliases: &["k_lms"],
        about: "linear multistep, order 4",
        class: Some("LMSDiscreteScheduler"),
        run: multistep::lms,
        ..PLAIN
    },
    Sampler {
        name: "dpmpp_2s_ancestral",
        label: "DPM++ 2S a",
        aliases: &["dpmpp_2s", "k_dpmpp_2s_a", "dpm++2s_a"],
        about: "DPM-Solver++(2S) with fresh noise each step",
        automatic: "karras",
        run: dpmpp::dpmpp_2s_ancestral,
        ..NOISY
    },
    Sampler {
        name: "dpmpp_sde",
        label: "DPM++ SDE",
        aliases: &["k_dpmpp_sde"],
        about: "DPM-Solver++ for the reverse SDE, order 2",
        automatic: "karras",
        class: Some("DPMSolverSDEScheduler"),
        run: dpmpp::dpmpp_sde,
        ..SDE
    },
    Sampler {
        name: "dpmpp_2m",
        label: "DPM++ 2M",
        aliases: &["dpm++2m", "k_dpmpp_2m", "dpmpp_2m_k"],
        about: "DPM-Solver++(2M): order 2 from one past estimate",
        automatic: "karras",
        class: Some("DPMSolverMultistepScheduler"),
        run: dpmpp::dpmpp_2m,
        ..PLAIN
    },
    Sampler {
        name: "dpmpp_2m_sde",
        label: "DPM++ 2M SDE",
        aliases: &["dpm++2m_sde", "k_dpmpp_2m_sde"],
        about: "DPM-Solver++(2M) for the reverse SDE",
        class: Some("DPMSolverMultistepScheduler"),
        class_options: &[("algorithm_type", "sde-dpmsolver++")],
        run: dpmpp::dpmpp_2m_sde,
        ..SDE
    },
    Sampler {
        name: "dpmpp_3m_sde",
        label: "DPM++ 3M SDE",
        aliases: &["dpmpp_3m", "k_dpmpp_3m_sde"],
        about: "DPM-Solver++(3M) for the reverse SDE",
        drops_next_to_last: true,
        run: dpmpp::dpmpp_3m_sde,
        ..SDE
    },
    Sampler {
        name: "lcm",
        label: "LCM",
        aliases: &["k_lcm"],
        about: "latent consistency models: few steps, for networks trained for it",
        noise: Independent,
        class: Some("LCMScheduler"),
        run: consistency::lcm,
        ..PLAIN
    },
    Sampler {
        name: "ddim",
        label: "DDIM",
        aliases: &[],
        about: "denoising diffusion implicit models, without fresh noise; Euler's method in other words",
        automatic: "ddim",
        class: Some("DDIMScheduler"),
        run: euler::euler,
        ..PLAIN
    },
    Sampler {
        name: "plms",
        label: "PLMS",
        aliases: &["pndm"],
        about: "pseudo linear multistep, order 4 in timesteps; the first step asks twice",
        automatic: "ddim",
        class: Some("PNDMScheduler"),
        run: multistep::plms,
        ..PLAIN
    },
];
