//! Comparison with the noise of torch, torchsde and stable-diffusion-webui in `tests/golden`.
use super::super::{
    golden::{golden, numbers, results, whole, worst},
    latents::combine,
};
use super::{
    BrownianNoise, FirstNoise, Latents, NoiseSource, PhiloxNoise, Rng, TorchNoise, Variation, find_rng, slerp,
};
use serde_json::Value;

fn seed(case: &Value) -> u64 {
    case["seed"].as_u64().unwrap()
}

fn shape(value: &Value) -> [usize; 4] {
    let lengths: Vec<usize> = value.as_array().unwrap().iter().map(whole).collect();
    std::array::from_fn(|axis| (axis + lengths.len()).checked_sub(4).map_or(1, |i| lengths[i]))
}

fn rng(case: &Value) -> Rng {
    find_rng(case["rng"].as_str().unwrap()).unwrap().rng
}

/// Fails unless `got` is `want` to `bound`; `name` is what the table of comparisons calls it.
fn assert_noise<'a>(name: &str, got: impl IntoIterator<Item = &'a f32>, want: &Value, bound: f64, what: &Value) {
    let got: Vec<f64> = got.into_iter().copied().map(f64::from).collect();
    let error = worst(&got, &numbers(want), |_| 1.0);
    println!("fidelity: noise {name} {error:.1e}");
    assert!(error < bound, "{error:.1e} in {what}");
}

#[test]
fn noise_is_that_of_torch() {
    for case in results("noise") {
        let drawn = TorchNoise::new(seed(&case)).draw([1, 1, 1, whole(&case["size"])]);
        assert_noise("torch.randn", drawn.values(), &case["values"], 2e-6, &case);
    }
    for sequence in golden("noise")["sequences"].as_array().unwrap() {
        let mut noise = TorchNoise::new(seed(sequence));
        for draw in sequence["draws"].as_array().unwrap() {
            assert_noise("torch.randn", noise.draw(shape(&draw["shape"])).values(), &draw["values"], 2e-6, draw);
        }
    }
}

/// Sixty draws of mixed lengths in a row; the last number of each tells whether all before it were right.
#[test]
fn draws_continue_as_in_torch() {
    for walk in golden("noise")["walks"].as_array().unwrap() {
        let mut noise = TorchNoise::new(seed(walk));
        let lengths = walk["lengths"].as_array().unwrap().iter().map(whole);
        let lasts: Vec<f32> = lengths.filter_map(|n| noise.draw([1, 1, 1, n]).values().last().copied()).collect();
        assert_noise("torch.randn", &lasts, &walk["lasts"], 2e-6, walk);
    }
}

/// The sum of (i + 1) × (the bits of number i), modulo 2^64.
fn checksum(noise: &Latents) -> u64 {
    let terms = (1_u64..).zip(noise.values()).map(|(i, value)| i.wrapping_mul(value.to_bits().into()));
    terms.fold(0, u64::wrapping_add)
}

/// A hundred seeds, up to a million numbers each.
#[test]
fn every_bit_is_that_of_torch() {
    let file = golden("noise");
    let sizes: Vec<usize> = file["sizes"].as_array().unwrap().iter().map(whole).collect();
    for case in file["seeds"].as_array().unwrap() {
        let drawn = sizes.iter().map(|size| checksum(&TorchNoise::new(seed(case)).draw([1, 1, 1, *size])));
        assert_eq!(serde_json::json!(drawn.collect::<Vec<_>>()), case["checksums"], "seed {}", seed(case));
        println!("fidelity: noise torch.randn-to-the-last-bit {} 0", seed(case));
    }
}

#[test]
fn philox_noise_is_that_of_its_origin() {
    for sequence in golden("philox")["sequences"].as_array().unwrap() {
        let mut noise = PhiloxNoise::new(seed(sequence));
        for draw in sequence["draws"].as_array().unwrap() {
            let drawn = noise.draw(shape(&draw["shape"]));
            assert_noise("Philox", drawn.values().iter().take(8), &draw["first"], 1e-6, draw);
            assert_noise(
                "Philox",
                &drawn.values()[drawn.values().len().saturating_sub(8)..],
                &draw["last"],
                1e-6,
                draw,
            );
        }
    }
}

#[test]
fn first_noise_is_that_of_its_origin() {
    let file = golden("first_noise");
    for case in results("first_noise") {
        let variation = case["variation"]
            .as_array()
            .map(|v| Variation { seed: v[0].as_u64().unwrap(), strength: v[1].as_f64().unwrap() });
        let resized_from = case["resized_from"].as_array().map(|size| [whole(&size[0]), whole(&size[1])]);
        let ensd = case["ensd"].as_u64().unwrap();
        let start = FirstNoise { rng: rng(&case), seed: seed(&file), variation, resized_from, ensd, encoded: false };
        let (first, mut steps) = start.draw(shape(&file["shape"]));
        assert_noise("first-noise", first.values().iter().step_by(11), &case["first"], 2e-6, &case);
        assert_noise("first-noise", &steps.draw(first.shape()).values()[..3], &case["next"], 2e-6, &case);
    }
}

#[test]
fn slerp_is_that_of_its_origin() {
    let file = golden("first_noise");
    let [low, other] = [1, 2].map(|seed| NoiseSource::new(Rng::Cpu, seed).draw(shape(&file["shape"])));
    for case in file["slerp"].as_array().unwrap() {
        let high = combine(&[(1.0, &low), (case["share"].as_f64().unwrap(), &other)]);
        let mixed = slerp(case["strength"].as_f64().unwrap(), &low, &high);
        assert_noise("slerp", mixed.values().iter().step_by(5), &case["mixed"], 2e-6, case);
    }
}

#[test]
fn brownian_noise_is_that_of_torchsde() {
    let mut last: Option<(Value, BrownianNoise)> = None;
    for case in results("brownian") {
        let name = ["rng", "seed", "shape", "range"].map(|key| case[key].clone()).into_iter().collect::<Value>();
        let mut noise = match last.take() {
            Some((same, noise)) if same == name => noise,
            _ => {
                let range = numbers(&case["range"]);
                BrownianNoise::new(rng(&case), seed(&case), shape(&case["shape"]), range[0], range[1]).unwrap()
            }
        };
        let step = numbers(&case["step"]);
        let drawn = noise.between(step[0], step[1]);
        let each = (drawn.values().len() / 8).max(1);
        assert_noise("Brownian-tree", drawn.values().iter().step_by(each).take(8), &case["values"], 2e-6, &case);
        last = Some((name, noise));
    }
}
