//! Items under a limit, shared fairly by their owners. Pure.
//!
//! An owner is a namespace. It is charged for each item that it has used lately, and an item of
//! several owners is charged to each of them. When there is no room for a new item, the owner with the
//! most gives up the item that it used least recently. This repeats until an item has no owner left:
//! that one is evicted. So a new item always has room, and no owner loses anything to another one
//! while it has no more than an equal share.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::time::Instant;

use crate::metric::Namespace;

/// Charges for each item that there is room for, on average. An owner above that gives up a charge and
/// no item, so that the memory is bounded for any number of owners.
const OWNERS_PER_ITEM: usize = 4;

/// At most `limit` items.
#[derive(Clone, Debug)]
pub(super) struct Shares<K, V> {
    limit: usize,
    /// Sorted by key. There are few enough for a vector.
    items: Vec<Item<K, V>>,
}

#[derive(Clone, Debug)]
struct Item<K, V> {
    key: K,
    value: V,
    used: Instant,
    charges: Vec<Charge>,
}

/// One owner of an item.
#[derive(Clone, Debug)]
struct Charge {
    owner: Namespace,
    used: Instant,
    until: Instant,
}

/// What an owner has: how many items, and which of them it used least recently.
struct Share {
    items: usize,
    oldest: (Instant, usize),
}

// === impl Shares ===

impl<K: Ord, V> Shares<K, V> {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, items: Vec::new() }
    }

    /// The item that is known by this key, charged to `owner` for as long as it is not used.
    pub(super) fn charge(&mut self, owner: &Namespace, key: &K, now: Instant, keep: Duration) -> Option<&mut V> {
        let at = self.find(key).ok()?;
        if let Some(charge) = self.items[at].charges.iter_mut().find(|charge| charge.owner == *owner) {
            (charge.used, charge.until) = (now, now + keep);
        } else {
            self.limit_charges(owner, now);
            self.items[at].charges.push(Charge { owner: owner.clone(), used: now, until: now + keep });
        }
        let item = &mut self.items[at];
        item.used = now;
        Some(&mut item.value)
    }

    /// Adds an item, charged to `owner` for as long as it is not used. Returns the value of the item
    /// that is evicted for it.
    pub(super) fn add(&mut self, owner: &Namespace, key: K, value: V, now: Instant, keep: Duration) -> Option<V> {
        let known = self.find(&key).ok().map(|at| self.items.remove(at).value);
        let evicted = if self.items.len() < self.limit { None } else { self.make_room(owner, now) };
        self.limit_charges(owner, now);
        let charges = vec![Charge { owner: owner.clone(), used: now, until: now + keep }];
        if self.items.is_empty() {
            // Most have one item only.
            self.items.reserve_exact(1);
        }
        let at = self.find(&key).unwrap_or_else(|at| at);
        self.items.insert(at, Item { key, value, used: now, charges });
        known.or(evicted)
    }

    /// Whether a new item of this owner would evict another one of its own.
    pub(super) fn is_full_for(&mut self, owner: &Namespace, now: Instant) -> bool {
        if self.items.len() < self.limit {
            return false;
        }
        self.lapse(now);
        self.unowned().is_none() && self.largest(owner).is_none_or(|(largest, _)| largest == *owner)
    }

    /// Removes an item if its value is as expected.
    pub(super) fn remove_if(&mut self, key: &K, expected: impl FnOnce(&V) -> bool) {
        if let Ok(at) = self.find(key)
            && expected(&self.items[at].value)
        {
            self.items.remove(at);
        }
    }

    pub(super) fn clear(&mut self) {
        self.items = Vec::new();
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.find(key).ok().map(|at| &self.items[at].value)
    }

    /// All items, sorted by key.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.items.iter().map(|item| (&item.key, &item.value))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.items.iter_mut().map(|item| (&item.key, &mut item.value))
    }

    /// The values of the items from one key up to another one, which is not included.
    pub(super) fn range(&self, from: &K, to: &K) -> impl Iterator<Item = &V> {
        let start = self.items.partition_point(|item| item.key < *from);
        self.items[start..].iter().take_while(|item| item.key < *to).map(|item| &item.value)
    }

    /// How many items each owner is charged for.
    pub(super) fn owners(&self, now: Instant) -> BTreeMap<Namespace, usize> {
        let mut owners = BTreeMap::new();
        for charge in self.items.iter().flat_map(|item| &item.charges).filter(|charge| now < charge.until) {
            *owners.entry(charge.owner.clone()).or_default() += 1;
        }
        owners
    }

    fn find(&self, key: &K) -> Result<usize, usize> {
        self.items.binary_search_by(|item| item.key.cmp(key))
    }

    /// Evicts an item for a new one of this owner.
    fn make_room(&mut self, owner: &Namespace, now: Instant) -> Option<V> {
        self.lapse(now);
        let at = loop {
            match self.unowned() {
                Some(at) => break at,
                None => self.give_way(owner)?,
            }
        };
        Some(self.items.remove(at).value)
    }

    /// Makes room for one more charge.
    fn limit_charges(&mut self, owner: &Namespace, now: Instant) {
        let is_full = |items: &[Item<K, V>], limit| items.iter().map(|item| item.charges.len()).sum::<usize>() >= limit;
        let limit = self.limit * OWNERS_PER_ITEM;
        if is_full(&self.items, limit) {
            self.lapse(now);
        }
        if is_full(&self.items, limit) {
            self.give_way(owner);
        }
    }

    /// Ends the charges for what was not used for long enough.
    fn lapse(&mut self, now: Instant) {
        for item in &mut self.items {
            item.charges.retain(|charge| now < charge.until);
        }
    }

    /// Of the items without an owner, the one that was used least recently.
    fn unowned(&self) -> Option<usize> {
        let unowned = self.items.iter().enumerate().filter(|(_, item)| item.charges.is_empty());
        unowned.min_by_key(|(_, item)| item.used).map(|(at, _)| at)
    }

    /// The owner with the most gives up what it used least recently.
    fn give_way(&mut self, newcomer: &Namespace) -> Option<()> {
        let (owner, at) = self.largest(newcomer)?;
        self.items[at].charges.retain(|charge| charge.owner != owner);
        Some(())
    }

    /// The owner with the most items and the place of the one that it used least recently. `newcomer`
    /// is about to have one more, and of equal owners it is the one that gives way.
    fn largest(&self, newcomer: &Namespace) -> Option<(Namespace, usize)> {
        let mut shares: HashMap<&Namespace, Share, RandomState> = HashMap::default();
        for (at, item) in self.items.iter().enumerate() {
            for charge in &item.charges {
                let share = shares.entry(&charge.owner).or_insert(Share { items: 0, oldest: (charge.used, at) });
                share.items += 1;
                share.oldest = share.oldest.min((charge.used, at));
            }
        }
        let rank = |owner: &Namespace, share: &Share| {
            let is_newcomer = owner == newcomer;
            (share.items + usize::from(is_newcomer), is_newcomer, Reverse(share.oldest))
        };
        let (owner, share) = shares.into_iter().max_by_key(|(owner, share)| rank(owner, share))?;
        Some((owner.clone(), share.oldest.1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 8;
    const KEEP: Duration = Duration::from_secs(100);

    fn owner(number: u8) -> Namespace {
        Namespace::new(format!("team-{number}"))
    }

    /// Uses an item, as those who use shares do.
    fn use_item(shares: &mut Shares<u8, u8>, number: u8, key: u8, now: Instant) -> Option<u8> {
        match shares.charge(&owner(number), &key, now, KEEP) {
            Some(_) => None,
            None => shares.add(&owner(number), key, key, now, KEEP),
        }
    }

    fn keys(shares: &Shares<u8, u8>) -> Vec<u8> {
        shares.iter().map(|(key, _)| *key).collect()
    }

    proptest! {
        #[test]
        fn the_limit_holds_and_only_owners_above_an_equal_share_lose_to_others(
            steps in proptest::collection::vec((0u8..5, 0u8..16, 0u64..30), 1..300),
        ) {
            let (mut shares, mut now) = (Shares::new(LIMIT), Instant::now());
            for (number, key, passed) in steps {
                now += Duration::from_secs(passed);
                let before = shares.owners(now);
                let known = shares.get(&key).is_some();
                let full = shares.items.len() == LIMIT;
                let evicted = use_item(&mut shares, number, key, now);
                let after = shares.owners(now);
                prop_assert!(shares.items.len() <= LIMIT);
                prop_assert!(after.values().sum::<usize>() <= LIMIT * OWNERS_PER_ITEM);
                prop_assert_eq!(evicted.is_some(), full && !known);
                prop_assert!(shares.items.is_sorted_by_key(|item| item.key));
                // The newest request has its room.
                let at = shares.find(&key).unwrap();
                prop_assert!(shares.items[at].charges.iter().any(|charge| charge.owner == owner(number)));
                let owners = before.len() + usize::from(!before.contains_key(&owner(number)));
                for (other, had) in before.iter().filter(|(other, _)| **other != owner(number)) {
                    let has = after.get(other).copied().unwrap_or_default();
                    prop_assert!(has >= (*had).min(LIMIT / owners), "{other} had {had} and has {has}");
                }
            }
        }
    }

    #[test]
    fn the_largest_owner_gives_up_what_it_used_least_recently() {
        let (mut shares, mut now) = (Shares::new(LIMIT), Instant::now());
        let mut at = |shares: &mut Shares<u8, u8>, number, key| {
            now += Duration::from_secs(1);
            use_item(shares, number, key, now)
        };
        for key in [0, 1, 2, 3, 4, 5] {
            at(&mut shares, 1, key);
        }
        for key in [6, 7] {
            at(&mut shares, 2, key);
        }
        at(&mut shares, 1, 0);
        assert_eq!(at(&mut shares, 3, 8), Some(1));
        assert_eq!(at(&mut shares, 2, 9), Some(2));
        // Of owners with equal shares, the one that requests more.
        assert_eq!(at(&mut shares, 2, 10), Some(6));
        assert_eq!(at(&mut shares, 1, 11), Some(3));
        assert_eq!(keys(&shares), [0, 4, 5, 7, 8, 9, 10, 11]);
    }

    #[test]
    fn a_shared_item_goes_when_all_have_given_way() {
        let (mut shares, mut now) = (Shares::new(LIMIT), Instant::now());
        let mut at = |shares: &mut Shares<u8, u8>, number, key| {
            now += Duration::from_secs(1);
            use_item(shares, number, key, now)
        };
        at(&mut shares, 1, 0);
        at(&mut shares, 2, 0);
        for key in 1..100 {
            assert_ne!(at(&mut shares, 1, key), Some(0));
        }
        assert!(shares.get(&0).is_some());
    }

    #[test]
    fn what_was_not_used_for_long_goes_first_and_has_no_owner() {
        let (mut shares, start) = (Shares::new(LIMIT), Instant::now());
        use_item(&mut shares, 1, 0, start);
        for key in 1..8 {
            use_item(&mut shares, 2, key, start + Duration::from_secs(1));
        }
        assert!(shares.is_full_for(&owner(2), start) && !shares.is_full_for(&owner(3), start));
        let later = start + KEEP;
        assert_eq!(shares.owners(later).into_iter().collect::<Vec<_>>(), [(owner(2), 7)]);
        assert!(!shares.is_full_for(&owner(2), later));
        assert_eq!(use_item(&mut shares, 2, 8, later), Some(0));
    }

    #[test]
    fn many_owners_of_one_item_are_bounded() {
        let (mut shares, now) = (Shares::new(2), Instant::now());
        for number in 0..100 {
            assert_eq!(use_item(&mut shares, number, 0, now + Duration::from_millis(number.into())), None);
        }
        assert_eq!((keys(&shares), shares.owners(now).len()), (vec![0], 2 * OWNERS_PER_ITEM));
    }

    #[test]
    fn a_range_begins_at_one_key_and_ends_before_another() {
        let (mut shares, now) = (Shares::new(LIMIT), Instant::now());
        for key in [7, 1, 5, 3] {
            use_item(&mut shares, 1, key, now);
        }
        let range = |from, to| shares.range(&from, &to).copied().collect::<Vec<_>>();
        assert_eq!((range(3, 7), range(4, 9), range(8, 9)), (vec![3, 5], vec![5, 7], vec![]));
        shares.remove_if(&3, |value| *value == 9);
        shares.remove_if(&5, |value| *value == 5);
        assert_eq!(keys(&shares), [1, 3, 7]);
    }
}
