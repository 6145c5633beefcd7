use super::{SHARDS, SessionKey};

#[test]
fn sessions_are_spread_evenly_over_the_parts_of_the_table() {
    let (mut parts, sessions) = ([0_usize; SHARDS], 100_000);
    for _ in 0..sessions {
        parts[SessionKey::generate().1.shard()] += 1;
    }
    let mean = sessions / SHARDS;
    assert!(parts.iter().all(|part| part.abs_diff(mean) * 10 < mean * 3), "{parts:?}");
}
