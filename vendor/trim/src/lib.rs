//! One call of the C library, in a crate of its own because the server forbids unsafe code.
#![deny(missing_docs)]

/// Gives free memory in whole pages back to the operating system. True if there was any.
///
/// The allocator of glibc does that by itself only with what is free at the very end of its heap, and one small thing that stays there keeps all
/// of it. Blocks: each arena is locked while it is looked through. With other C libraries it does nothing.
pub fn give_back() -> bool {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: it takes no pointer, and glibc documents it as safe to call from any thread at any time (MT-Safe).
        unsafe { libc::malloc_trim(0) == 1 }
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    false
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    fn resident_kib() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a process has memory");
        line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
    }

    #[test]
    fn what_is_free_between_things_that_stay_is_given_back() {
        let mut things: Vec<Vec<u8>> = (0..100_000).map(|_| vec![1; 1_000]).collect();
        let full = resident_kib();
        // Every 64th stays, the last one too.
        let stay: Vec<Vec<u8>> =
            things.drain(..).enumerate().filter(|(n, _)| n % 64 == 63 || *n == 99_999).map(|(_, thing)| thing).collect();
        let before = resident_kib();
        assert!(super::give_back());
        let after = resident_kib();
        assert!(after + 50_000 < before, "{full} KiB full, {before} before, {after} after, {} things stay", stay.len());
    }
}
