//! Which provider runs which part of the work? What `--ep` says, read; and the next choice when one does not start.
use super::{Provider, ProviderChoice};
use crate::{Error, Result, error::unknown};
use std::fmt;

/// A part of the work that may have a device of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The text encoders.
    Text,
    /// The network that takes the noise away, and the refiner.
    Network,
    /// Both halves of the autoencoder, and the tiny one.
    Vae,
    /// What makes pictures larger.
    Upscaler,
}

/// The stages as they are typed; the first name of each is the one that is printed.
const STAGES: [(&str, Stage); 6] = [
    ("text", Stage::Text),
    ("unet", Stage::Network),
    ("transformer", Stage::Network),
    ("network", Stage::Network),
    ("vae", Stage::Vae),
    ("upscaler", Stage::Upscaler),
];
/// Every stage, as [`STAGES`] has them and as they stand in [`Assigned`].
const ALL: [Stage; 4] = [Stage::Text, Stage::Network, Stage::Vae, Stage::Upscaler];

impl fmt::Display for Stage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(STAGES.iter().find(|(_, stage)| stage == self).map_or("", |(name, _)| name))
    }
}

/// The providers to try for a stage, in order.
#[derive(Clone, Debug)]
struct Wish {
    choices: Vec<ProviderChoice>,
    /// Whether nobody named them, so that those that are not there are passed over without a word.
    automatic: bool,
}

/// The providers to try for each stage.
#[derive(Clone, Debug)]
pub(crate) struct Wishes([Wish; ALL.len()]);

/// One provider for each stage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Assigned([ProviderChoice; ALL.len()]);

impl Wishes {
    /// Reads what `--ep` takes, items between commas: `auto`, `cpu`, `cuda:1`, for stages that no other item names, or
    /// `unet=cuda`. Several for one stage are tried in their order, which only `may_fall_back` allows, and with it the CPU
    /// comes last.
    pub(crate) fn parse(text: &str, may_fall_back: bool) -> Result<Self> {
        let mut others: Vec<&str> = Vec::new();
        let mut own: [Vec<&str>; ALL.len()] = Default::default();
        for item in text.split(',').map(str::trim) {
            match item.split_once('=') {
                None => others.push(item),
                Some((name, provider)) => {
                    let name = name.trim();
                    let stage = STAGES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
                    let names = STAGES.iter().map(|(name, _)| *name);
                    let (_, stage) = stage.ok_or_else(|| unknown("part of a model", name, names))?;
                    own[*stage as usize].push(provider.trim());
                }
            }
        }
        if others.is_empty() {
            others.push("auto");
        }
        let others = Wish::parse(&others, may_fall_back)?;
        let mut wishes = [others.clone(), others.clone(), others.clone(), others];
        for (wish, items) in wishes.iter_mut().zip(&own).filter(|(_, items)| !items.is_empty()) {
            *wish = Wish::parse(items, may_fall_back)?;
        }
        Ok(Self(wishes))
    }

    /// The wishes for `stage`, for everything.
    pub(crate) fn only(self, stage: Stage) -> Self {
        let wish = &self.0[stage as usize];
        Self([wish.clone(), wish.clone(), wish.clone(), wish.clone()])
    }

    /// These wishes without what nobody named and `there` does not list.
    pub(crate) fn among(mut self, there: &[&Provider]) -> Self {
        let is_there = |choice: &ProviderChoice| there.iter().any(|provider| provider.name == choice.provider.name);
        for wish in self.0.iter_mut().filter(|wish| wish.automatic) {
            wish.choices.retain(is_there);
            if wish.choices.is_empty() {
                wish.choices.push(ProviderChoice::cpu());
            }
        }
        self
    }

    /// The first choice of each stage that is not among `refused`; `None` if a stage has none left.
    pub(crate) fn assign(&self, refused: &[ProviderChoice]) -> Option<Assigned> {
        let mut assigned = Assigned([ProviderChoice::cpu(); ALL.len()]);
        for (choice, wish) in assigned.0.iter_mut().zip(&self.0) {
            *choice = *wish.choices.iter().find(|choice| !refused.contains(choice))?;
        }
        Some(assigned)
    }
}

impl Wish {
    fn parse(items: &[&str], may_fall_back: bool) -> Result<Self> {
        if items.len() > 1 && !may_fall_back {
            return Err(Error::request(
                format!("`--ep {}` names several providers for the same work", items.join(",")),
                "name one, or add `--allow-fallback` to try them in this order, and the CPU at last",
            ));
        }
        let mut choices: Vec<ProviderChoice> = Vec::new();
        for item in items {
            for choice in ProviderChoice::parse(item)? {
                if !choices.contains(&choice) {
                    choices.push(choice);
                }
            }
        }
        let automatic = matches!(items, [only] if only.eq_ignore_ascii_case("auto"));
        if may_fall_back {
            for choice in &mut choices {
                choice.strict = false;
            }
            if !choices.contains(&ProviderChoice::cpu()) {
                choices.push(ProviderChoice::cpu());
            }
        }
        Ok(Self { choices, automatic })
    }
}

impl Assigned {
    /// The provider of `stage`.
    pub(crate) fn of(&self, stage: Stage) -> ProviderChoice {
        self.0[stage as usize]
    }

    /// Every stage and its provider.
    pub(crate) fn each(&self) -> impl Iterator<Item = (Stage, ProviderChoice)> {
        ALL.into_iter().zip(self.0)
    }
}

/// As `--ep` takes it: one provider if it runs everything.
impl fmt::Display for Assigned {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.0[0];
        if self.0.iter().all(|choice| *choice == first) {
            return first.fmt(out);
        }
        let items: Vec<_> = self.each().map(|(stage, choice)| format!("{stage}={choice}")).collect();
        out.write_str(&items.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::PROVIDERS;

    fn assigned(text: &str) -> String {
        Wishes::parse(text, false).unwrap().assign(&[]).unwrap().to_string()
    }

    fn only(names: &[&str]) -> Vec<&'static Provider> {
        PROVIDERS.iter().filter(|provider| names.contains(&provider.name)).collect()
    }

    #[test]
    fn each_stage_may_have_its_own_provider() {
        assert_eq!(assigned("cuda:1"), "cuda:1");
        assert_eq!(assigned("unet=webgpu,vae=cpu,cuda"), "text=cuda,unet=webgpu,vae=cpu,upscaler=cuda");
        assert_eq!(assigned("cpu, Transformer = cuda:2"), "text=cpu,unet=cuda:2,vae=cpu,upscaler=cpu");
        assert_eq!(assigned("text=cpu,network=cpu,vae=cpu,upscaler=cpu"), "cpu");
        // what is printed can be typed
        let printed = assigned("unet=webgpu,vae=cpu,cuda");
        assert_eq!(assigned(&printed), printed);
    }

    #[test]
    fn stages_that_are_not_named_are_chosen_automatically() {
        let wishes = Wishes::parse("unet=webgpu", false).unwrap().among(&only(&["cpu", "directml"]));
        let assigned = wishes.assign(&[]).unwrap();
        assert_eq!(assigned.to_string(), "text=directml,unet=webgpu,vae=directml,upscaler=directml");
    }

    #[test]
    fn what_cannot_be_read_is_named_with_a_remedy() {
        let refused = |text| {
            let error = Wishes::parse(text, false).unwrap_err();
            (error.to_string(), error.hint().unwrap())
        };
        let (what, hint) = refused("unett=cpu");
        assert_eq!(what, "unknown part of a model `unett`");
        assert!(hint.starts_with("use `unet`, or another of: text, unet"), "{hint}");
        let (what, hint) = refused("cuda:0,cpu");
        assert_eq!(what, "`--ep cuda:0,cpu` names several providers for the same work");
        assert!(hint.contains("--allow-fallback"), "{hint}");
        assert!(refused("unet=cuda,unet=cpu").0.contains("`--ep cuda,cpu`"));
        assert_eq!(refused("unet=cudda").0, "unknown provider `cudda`");
        for odd in ["", ",", "unet=", "=cpu", "unet=cpu,", "cpu=unet"] {
            assert!(Wishes::parse(odd, true).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_named_provider_is_the_only_one_unless_falling_back_is_allowed() {
        let strict = Wishes::parse("cuda", false).unwrap().among(&only(&["cpu"]));
        let first = strict.assign(&[]).unwrap();
        assert_eq!(first.to_string(), "cuda"); // though it is not there: whoever loads it says so
        assert!(first.of(Stage::Vae).strict);
        assert_eq!(strict.assign(&[first.of(Stage::Vae)]), None);
        let lenient = Wishes::parse("cuda", true).unwrap();
        let first = lenient.assign(&[]).unwrap();
        assert!(first.to_string() == "cuda" && !first.of(Stage::Vae).strict);
        assert_eq!(lenient.assign(&[first.of(Stage::Vae)]).unwrap().to_string(), "cpu");
    }

    #[test]
    fn auto_passes_over_what_is_not_there_and_ends_with_the_cpu() {
        let wishes = Wishes::parse("auto", false).unwrap();
        let choose = |there: &[&str], refused: &[&str]| {
            let refused: Vec<_> = refused.iter().map(|name| ProviderChoice::parse(name).unwrap()[0]).collect();
            wishes.clone().among(&only(there)).assign(&refused).map(|assigned| assigned.to_string())
        };
        assert_eq!(choose(&["cuda", "directml", "webgpu", "cpu"], &[]).as_deref(), Some("cuda"));
        assert_eq!(choose(&["cuda", "directml", "cpu"], &["cuda"]).as_deref(), Some("directml"));
        assert_eq!(choose(&["webgpu", "openvino", "cpu"], &[]).as_deref(), Some("cpu"));
        assert_eq!(choose(&["cpu"], &["cpu"]), None);
        assert_eq!(choose(&[], &[]).as_deref(), Some("cpu"));
    }

    #[test]
    fn an_order_of_preference_is_kept_for_each_stage() {
        let wishes = Wishes::parse("unet=webgpu,unet=cuda,cpu", true).unwrap();
        let names: Vec<_> = wishes.0[Stage::Network as usize].choices.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["webgpu", "cuda", "cpu"]);
        assert_eq!(wishes.0[Stage::Text as usize].choices.len(), 1);
    }
}
