//! Names in a sentence: as many as there is room for. Pure.

/// At most `most` names, and no more than fit `bytes` with the words that say how many are left
/// out: `a, b and 3 more`.
pub fn that_fit(names: &[&str], bytes: usize, most: usize) -> String {
    // Room for " and N more".
    let limit = bytes.saturating_sub(20);
    let (mut text, mut told) = (String::new(), 0);
    for name in names.iter().take(most) {
        if text.len() + 2 + name.len() > limit {
            break;
        }
        if told > 0 {
            text.push_str(", ");
        }
        text.push_str(name);
        told += 1;
    }
    if told < names.len() {
        text.push_str(&format!(" and {} more", names.len() - told));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted() {
        let names: Vec<String> = (0..25).map(|n| format!("queue-{n:02}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(that_fit(&names[..2], 400, 10), "queue-00, queue-01");
        assert_eq!(that_fit(&names, 400, 3), "queue-00, queue-01, queue-02 and 22 more");
        assert_eq!(that_fit(&names, 45, 10), "queue-00, queue-01 and 23 more");
        for bytes in [40, 100, 400] {
            assert!(that_fit(&names, bytes, 100).len() <= bytes, "{bytes}");
        }
    }
}
