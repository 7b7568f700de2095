//! Every sampler, with its names in other tools. To add one, write a function beside this file and an entry here.
use super::{
    FreshNoise::{Brownian, Independent},
    Sampler, cfg_pp, consistency, ddim, deis, dpm, dpm_solver, dpmpp, euler, ipndm, multistep, pndm, res, restart,
    sa_solver, seeds, unipc,
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
    uses_negative: false,
    guidance: 1.0,
    class: None,
    class_options: &[],
    run: euler::euler,
};

/// Samplers that add fresh noise only where they are told to churn.
const CHURNING: Sampler = Sampler { noise: Independent, churns: true, ..PLAIN };

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
        ..CHURNING
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
        name: "euler_cfg_pp",
        label: "Euler CFG++",
        aliases: &["k_euler_cfg_pp"],
        about: "Euler's method with the noise of the negative prompt; for a low guidance scale, like 0.7",
        uses_negative: true,
        run: cfg_pp::euler_cfg_pp,
        ..PLAIN
    },
    Sampler {
        name: "euler_ancestral_cfg_pp",
        label: "Euler a CFG++",
        aliases: &["euler_a_cfg_pp", "k_euler_a_cfg_pp"],
        about: "Euler CFG++ with fresh noise each step",
        uses_negative: true,
        run: cfg_pp::euler_ancestral_cfg_pp,
        ..NOISY
    },
    Sampler {
        name: "ddim_cfgpp",
        label: "DDIM CFG++",
        aliases: &["ddim_cfg_pp"],
        about: "Euler CFG++ through the timesteps of DDIM, for an ordinary guidance scale; fresh noise by eta",
        guidance: 1.0 / 12.5,
        automatic: "timesteps",
        eta: Some(0.0),
        uses_negative: true,
        run: cfg_pp::euler_ancestral_cfg_pp,
        ..NOISY
    },
    Sampler {
        name: "gradient_estimation",
        label: "Gradient Estimation",
        aliases: &["euler_ge"],
        about: "Euler's method along a slope that is led on from the last one",
        run: euler::gradient_estimation,
        ..PLAIN
    },
    Sampler {
        name: "heun",
        label: "Heun",
        aliases: &["k_heun"],
        about: "Heun's method, order 2",
        class: Some("HeunDiscreteScheduler"),
        run: euler::heun,
        ..CHURNING
    },
    Sampler {
        name: "heunpp2",
        label: "HeunPP2",
        aliases: &["heun++2", "k_heunpp2"],
        about: "Heun's method with up to three slopes a step",
        run: euler::heunpp2,
        ..CHURNING
    },
    Sampler {
        name: "restart",
        label: "Restart",
        aliases: &["k_restart"],
        about: "Heun's method that goes back up to some noise and comes down again; from 20 steps on, its own Karras levels",
        automatic: "karras",
        noise: Independent,
        run: restart::restart,
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
        ..CHURNING
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
        name: "dpm_fast",
        label: "DPM fast",
        aliases: &["k_dpm_fast"],
        about: "DPM-Solver of order 3, as many evaluations as steps, through levels of its own",
        automatic: "exponential",
        run: dpm::dpm_fast,
        ..NOISY
    },
    Sampler {
        name: "dpm_adaptive",
        label: "DPM adaptive",
        aliases: &["k_dpm_ad", "k_dpm_adaptive"],
        about: "DPM-Solver of order 3 that chooses its own steps, whatever their number",
        automatic: "exponential",
        run: dpm::dpm_adaptive,
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
        name: "ipndm",
        label: "IPNDM",
        aliases: &["k_ipndm", "IPNDMScheduler"],
        about: "linear multistep, order 4 for even steps",
        run: ipndm::ipndm,
        ..PLAIN
    },
    Sampler {
        name: "ipndm_v",
        label: "IPNDM_V",
        aliases: &["k_ipndm_v"],
        about: "linear multistep, order 3, for uneven steps",
        run: ipndm::ipndm_v,
        ..PLAIN
    },
    Sampler {
        name: "dpmpp_2s_ancestral",
        label: "DPM++ 2S a",
        aliases: &["k_dpmpp_2s_a", "dpm++2s_a", "dpmpp_2s_a"],
        about: "DPM-Solver++(2S) with fresh noise each step",
        automatic: "karras",
        run: dpmpp::dpmpp_2s_ancestral,
        ..NOISY
    },
    Sampler {
        name: "dpmpp_2s",
        label: "DPM++ 2S",
        aliases: &["k_dpmpp_2s"],
        about: "DPM-Solver++(2S): order 2, every other step asks from where the step before began",
        automatic: "karras",
        class: Some("DPMSolverSinglestepScheduler"),
        run: dpm_solver::dpmpp_2s,
        ..PLAIN
    },
    Sampler {
        name: "dpmpp_sde",
        label: "DPM++ SDE",
        aliases: &["k_dpmpp_sde", "dpmpp_sde_gpu"],
        about: "DPM-Solver++ for the reverse SDE, order 2",
        automatic: "karras",
        class: Some("DPMSolverSDEScheduler"),
        run: dpmpp::dpmpp_sde,
        ..SDE
    },
    Sampler {
        name: "dpmpp_2m",
        label: "DPM++ 2M",
        aliases: &["dpm++2m", "k_dpmpp_2m"],
        about: "DPM-Solver++(2M): order 2 from one past estimate",
        automatic: "karras",
        class: Some("DPMSolverMultistepScheduler"),
        run: dpmpp::dpmpp_2m,
        ..PLAIN
    },
    Sampler {
        name: "dpmpp_2m_sde",
        label: "DPM++ 2M SDE",
        aliases: &["dpm++2m_sde", "dpm++2m_sde_bt", "k_dpmpp_2m_sde", "dpmpp_2m_sde_gpu"],
        about: "DPM-Solver++(2M) for the reverse SDE",
        class: Some("DPMSolverMultistepScheduler"),
        class_options: &[("algorithm_type", "sde-dpmsolver++")],
        run: dpmpp::dpmpp_2m_sde,
        ..SDE
    },
    Sampler {
        name: "dpmpp_2m_sde_heun",
        label: "DPM++ 2M SDE Heun",
        aliases: &["k_dpmpp_2m_sde_heun", "dpmpp_2m_sde_heun_gpu"],
        about: "DPM-Solver++(2M) for the reverse SDE, by Heun's formula",
        class: Some("DPMSolverMultistepScheduler"),
        class_options: &[("algorithm_type", "sde-dpmsolver++"), ("solver_type", "heun")],
        run: dpmpp::dpmpp_2m_sde_heun,
        ..SDE
    },
    Sampler {
        name: "dpmpp_3m_sde",
        label: "DPM++ 3M SDE",
        aliases: &["dpmpp_3m", "k_dpmpp_3m_sde", "dpmpp_3m_sde_gpu"],
        about: "DPM-Solver++(3M) for the reverse SDE",
        drops_next_to_last: true,
        run: dpmpp::dpmpp_3m_sde,
        ..SDE
    },
    Sampler {
        name: "res_multistep",
        label: "RES Multistep",
        aliases: &["k_res_multistep"],
        about: "RES, order 2 from one past estimate",
        run: res::res_multistep,
        ..PLAIN
    },
    Sampler {
        name: "res_multistep_ancestral",
        label: "RES Multistep a",
        aliases: &["res_multistep_a"],
        about: "RES with fresh noise each step",
        run: res::res_multistep_ancestral,
        ..NOISY
    },
    Sampler {
        name: "er_sde",
        label: "ER SDE",
        aliases: &["k_er_sde"],
        about: "ER-SDE-Solver-3: order 3 for a reverse SDE with less noise at the end",
        noise: Independent,
        run: res::er_sde,
        ..PLAIN
    },
    Sampler {
        name: "res_2s",
        label: "RES 2S",
        aliases: &[],
        about: "RES, order 2 from a second estimate each step",
        run: seeds::res_2s,
        ..PLAIN
    },
    Sampler {
        name: "seeds_2",
        label: "SEEDS 2",
        aliases: &[],
        about: "SEEDS for the reverse SDE, two estimates a step",
        run: seeds::seeds_2,
        ..NOISY
    },
    Sampler {
        name: "seeds_3",
        label: "SEEDS 3",
        aliases: &[],
        about: "SEEDS for the reverse SDE, three estimates a step",
        run: seeds::seeds_3,
        ..NOISY
    },
    Sampler {
        name: "exp_heun_2_x0",
        label: "Exp Heun 2",
        aliases: &[],
        about: "Heun's method in log sigma, for estimates of the clean latents",
        run: seeds::exp_heun_2_x0,
        ..PLAIN
    },
    Sampler {
        name: "exp_heun_2_x0_sde",
        label: "Exp Heun 2 SDE",
        aliases: &[],
        about: "Heun's method in log sigma for the reverse SDE",
        run: seeds::exp_heun_2_x0_sde,
        ..NOISY
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
        name: "tcd",
        label: "TCD",
        aliases: &[],
        about: "trajectory consistency distillation: few steps, for networks trained for it; eta is its gamma: 0.3, or 0 with `--scheduler model` as in diffusers",
        noise: Independent,
        eta: Some(0.3),
        class: Some("TCDScheduler"),
        run: consistency::tcd,
        ..PLAIN
    },
    Sampler {
        name: "uni_pc",
        label: "UniPC",
        aliases: &["unipc", "k_unipc"],
        about: "UniPC, order 3: a predictor, corrected by the next step's estimate",
        class: Some("UniPCMultistepScheduler"),
        // at no noise, the class gives no finite numbers with `bh1`
        class_options: &[("solver_order", "3"), ("solver_type", "bh1"), ("final_sigmas_type", "sigma_min")],
        run: unipc::bh1,
        ..PLAIN
    },
    Sampler {
        name: "uni_pc_bh2",
        label: "UniPC BH2",
        aliases: &["UniPCMultistepScheduler"], // `bh2` is the class's default
        about: "UniPC, order 3, with other weights",
        class: Some("UniPCMultistepScheduler"),
        class_options: &[("solver_order", "3"), ("solver_type", "bh2")],
        run: unipc::bh2,
        ..PLAIN
    },
    Sampler {
        name: "deis",
        label: "DEIS",
        aliases: &["k_deis"],
        about: "DEIS: order 2 in log sigma, from one past estimate",
        class: Some("DEISMultistepScheduler"),
        run: deis::deis,
        ..PLAIN
    },
    Sampler {
        name: "sa_solver",
        label: "SA-Solver",
        aliases: &[],
        about: "stochastic Adams methods, order 2: fresh noise at middle noise levels",
        class: Some("SASolverScheduler"),
        run: sa_solver::sa_solver,
        ..NOISY
    },
    Sampler {
        name: "ddim",
        label: "DDIM",
        aliases: &["ddim_trailing"],
        about: "denoising diffusion implicit models; Euler's method in other words while eta is 0",
        automatic: "timesteps",
        noise: Independent,
        eta: Some(0.0),
        class: Some("DDIMScheduler"),
        run: ddim::ddim,
        ..PLAIN
    },
    Sampler {
        name: "ddpm",
        label: "DDPM",
        aliases: &[],
        about: "denoising diffusion probabilistic models: all noise of the reverse process",
        noise: Independent,
        class: Some("DDPMScheduler"),
        run: ddim::ddpm,
        ..PLAIN
    },
    Sampler {
        name: "plms",
        label: "PLMS",
        aliases: &["pndm", "PNDMScheduler"],
        about: "pseudo linear multistep, order 4 in timesteps; the first step asks twice",
        automatic: "timesteps",
        class: Some("PNDMScheduler"),
        class_options: &[("skip_prk_steps", "true")],
        run: pndm::plms,
        ..PLAIN
    },
];
