//! The limit on the address space of this process (`ulimit -v`).

/// The limit in bytes; `None` where there is none.
pub fn limit_bytes() -> Option<u64> {
    limit_of(&std::fs::read_to_string("/proc/self/limits").ok()?)
}

/// `Max address space   819200000   unlimited   bytes`: the soft limit comes first.
fn limit_of(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_read() {
        let limits = |soft| {
            format!(
                "Limit  Soft Limit  Hard Limit  Units\nMax cpu time  7  7  s\nMax address space         {soft}            unlimited            bytes\n"
            )
        };
        assert_eq!(limit_of(&limits("819200000")), Some(819_200_000));
        assert_eq!((limit_of(&limits("unlimited")), limit_of("")), (None, None));
    }
}
