use super::*;

#[test]
fn a_time_that_lasts_is_told_in_the_unit_that_people_use() {
    for (seconds, text) in
        [(0.0, "0.0 s"), (1.26, "1.3 s"), (12.4, "12 s"), (119.0, "119 s"), (120.0, "2 min"), (10_000.0, "3 h")]
    {
        assert_eq!(lasting(seconds), text);
    }
}
