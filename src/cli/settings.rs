//! The settings of Phase-II as flags, one for each key of `[finetune]`, as their table has them.

use std::marker::PhantomData;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use toml::{Table, Value};

pub(super) use crate::config::word;
use crate::config::{FinetuneConfig, Section, Setting};

const HEADING: &str = "Settings of Phase-II (symbols as in the paper; docs/method.md)";

/// Bytes with a unit: `512MiB`, `4GiB`, `1.5GB`, `1000000`.
pub(super) fn parse_bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, f64); 9] = [
        ("KiB", 1024.0),
        ("MiB", 1048576.0),
        ("GiB", 1073741824.0),
        ("TiB", 1099511627776.0),
        ("KB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("TB", 1e12),
        ("B", 1.0),
    ];
    let upper = text.trim();
    let ends =
        |unit: &str| upper.to_lowercase().strip_suffix(&unit.to_lowercase()).map(String::from);
    let found = UNITS.iter().find_map(|(unit, scale)| Some((ends(unit)?, *scale)));
    let (number, scale) = found.unwrap_or((upper.to_string(), 1.0));
    match number.trim().parse::<f64>() {
        Ok(value) if value >= 0.0 && value.is_finite() => Ok((value * scale) as u64),
        _ => Err("expected a number of bytes, such as 512MiB or 4GiB".into()),
    }
}

/// A share of a whole: `0.005` or `0.5%`.
pub(super) fn parse_share(text: &str) -> Result<f64, String> {
    let (number, whole) = match text.trim().strip_suffix('%') {
        Some(percent) => (percent.trim(), 100.0),
        None => (text.trim(), 1.0),
    };
    match number.parse::<f64>().map(|value| value / whole) {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("expected a share from 0 to 1, such as 0.005 or 0.5%".into()),
    }
}

/// Flags for keys of `[finetune]`; absent ones keep the pipeline's value, the method's or the default.
#[derive(Debug)]
pub struct Flags<K> {
    given: Table,
    keys: PhantomData<K>,
}

/// A flag for each key.
pub type SettingArgs = Flags<EveryKey>;

/// The settings of Phase-II that decide what `inspect` counts.
pub type InspectSettings = Flags<KeysOfInspect>;

/// Which keys have flags.
pub trait Keys {
    /// Whether this one has.
    fn has(key: &str) -> bool;
}

/// All.
#[derive(Debug)]
pub struct EveryKey;

/// Thresholds, head ratio and number of confusing classes.
#[derive(Debug)]
pub struct KeysOfInspect;

impl Keys for EveryKey {
    fn has(_key: &str) -> bool {
        true
    }
}

impl Keys for KeysOfInspect {
    fn has(key: &str) -> bool {
        ["tau_specific", "tau_generic", "head_ratio", "num_confusing"].contains(&key)
    }
}

impl<K: Keys> Flags<K> {
    /// The keys that were given.
    pub fn keys(&self) -> Table {
        self.given.clone()
    }

    fn settings() -> impl Iterator<Item = &'static Setting<FinetuneConfig>> {
        FinetuneConfig::SETTINGS.iter().filter(|setting| K::has(setting.key))
    }
}

/// The argument of a setting.
fn argument(setting: &Setting<FinetuneConfig>) -> Option<Arg> {
    let names: Vec<&str> = setting.value_names?.split(' ').collect();
    let argument = Arg::new(setting.key)
        .long(setting.flag_name())
        .help(setting.help())
        .help_heading(HEADING)
        .num_args(names.len())
        .value_names(names)
        .value_parser(setting.parse);
    Some(argument)
}

/// The value of a setting, if its flag was given: a list where the flag takes several.
fn given(matches: &ArgMatches, setting: &Setting<FinetuneConfig>) -> Option<(String, Value)> {
    let values: Vec<Value> = matches.get_many(setting.key)?.cloned().collect();
    let is_list = setting.value_names?.contains(' ');
    let value = if is_list { Value::Array(values) } else { values.into_iter().next()? };
    Some((setting.key.into(), value))
}

impl<K: Keys> Args for Flags<K> {
    fn augment_args(command: Command) -> Command {
        command.args(Self::settings().filter_map(argument))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<K: Keys> FromArgMatches for Flags<K> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = Self::settings().filter_map(|setting| given(matches, setting)).collect();
        Ok(Self { given, keys: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.given.extend(Self::from_arg_matches(matches)?.given);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use toml::Table;

    use super::super::args::{Cli, Command};
    use super::{parse_bytes, parse_share};
    use crate::config::{self, FinetuneConfig, Section};

    /// The settings of Phase-II that a command line asks for, as TOML.
    fn asked(flag: &str, values: &str) -> Option<Table> {
        let given = ["fsa-bank", "finetune", "b", flag].into_iter().chain(values.split(' '));
        let Command::Finetune(args) = Cli::try_parse_from(given).ok()?.command else {
            panic!("finetune");
        };
        let config = config::resolve_finetune(&Table::new(), &args.settings.keys()).ok()?;
        Some(Table::try_from(config).unwrap())
    }

    #[test]
    fn every_finetune_key_has_its_flag_and_the_flags_reach_it() {
        let plain = Table::try_from(FinetuneConfig::default()).unwrap();
        assert_eq!(plain.len(), FinetuneConfig::SETTINGS.len());
        for setting in FinetuneConfig::SETTINGS {
            let flag = format!("--{}", setting.flag_name());
            let expected = setting.expected_text();
            let words = expected.split('`').skip(1).step_by(2);
            let values = ["0.25", "2", "0.1 0.2"].into_iter().chain(words);
            let mut reached = values.filter_map(|values| asked(&flag, values));
            let differs = reached.any(|config| config[setting.key] != plain[setting.key]);
            assert!(differs, "{flag} has no effect");
        }
    }

    #[test]
    fn flags_take_values_of_their_type_within_their_range() {
        let config = asked("--gamma-range", "0.7 0.8").unwrap();
        assert_eq!(config["gamma_range"].to_string(), "[0.7, 0.8]");
        assert_eq!(asked("--num-confusing", "4").unwrap()["num_confusing"].as_integer(), Some(4));
        for (flag, wrong) in [
            ("--num-confusing", "0.5"),
            ("--num-confusing", "0"),
            ("--tau-specific", "1"),
            ("--gamma-range", "0.8 0.7"),
            ("--gamma-range", "0.7"),
            ("--mask-values", "0.5"),
        ] {
            assert!(asked(flag, wrong).is_none(), "{flag} {wrong}");
        }
    }

    #[test]
    fn bytes_have_units() {
        assert_eq!(parse_bytes("1GiB"), Ok(1 << 30));
        assert_eq!(parse_bytes("512 mib"), Ok(512 << 20));
        assert_eq!(parse_bytes("1.5GB"), Ok(1_500_000_000));
        assert_eq!(parse_bytes("4096"), Ok(4096));
        assert!(parse_bytes("much").is_err() && parse_bytes("-1GiB").is_err());
    }

    #[test]
    fn shares_are_fractions_or_percent() {
        assert_eq!(parse_share("0.005"), Ok(0.005));
        assert_eq!(parse_share("0.5%"), Ok(0.005));
        assert_eq!(parse_share("0.1%"), Ok(crate::dataset::Skipped::USUAL_SHARE));
        assert_eq!((parse_share("0"), parse_share(" 100 % ")), (Ok(0.0), Ok(1.0)));
        for wrong in ["5", "101%", "-1%", "few", "", "%", "nan"] {
            assert!(parse_share(wrong).is_err(), "{wrong}");
        }
    }
}
