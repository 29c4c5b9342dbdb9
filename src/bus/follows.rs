//! What this node wants to hear, counted per user of it, and what Redis has confirmed.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::topic::Topic;
use crate::models::Participant;

/// How long somebody waits until Redis has confirmed. Longer, and he goes on without: what he then misses a sync makes good.
const CONFIRMED_WITHIN: Duration = Duration::from_millis(500);

#[derive(Default)]
pub(super) struct Follows {
    // std Mutex: never held across an await.
    tables: Mutex<Tables>,
    /// Something is to be subscribed or unsubscribed.
    pub changed: Notify,
    confirmed: Notify,
}

#[derive(Default)]
struct Tables {
    wanted: HashMap<Topic, usize>,
    confirmed: HashSet<Topic>,
    touched: HashSet<Topic>,
}

/// What to ask Redis for.
#[derive(Default)]
pub(super) struct Difference {
    pub begin: Vec<Topic>,
    pub end: Vec<Topic>,
}

impl Follows {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more needs it. True if it is the first.
    pub fn add(&self, topic: Topic) -> bool {
        let mut tables = self.tables();
        let count = tables.wanted.entry(topic.clone()).or_default();
        *count += 1;
        let first = *count == 1;
        if first {
            tables.touched.insert(topic);
            self.changed.notify_one();
        }
        first
    }

    /// One less needs it. True if it was the last.
    pub fn remove(&self, topic: &Topic) -> bool {
        let mut tables = self.tables();
        let Some(count) = tables.wanted.get_mut(topic) else { return false };
        *count -= 1;
        let last = *count == 0;
        if last {
            tables.wanted.remove(topic);
            tables.touched.insert(topic.clone());
            self.changed.notify_one();
        }
        last
    }

    /// What changed since the last time. Coming and going at once is no change.
    pub fn difference(&self) -> Difference {
        let mut tables = self.tables();
        let mut difference = Difference::default();
        for topic in std::mem::take(&mut tables.touched) {
            match (tables.wanted.contains_key(&topic), tables.confirmed.contains(&topic)) {
                (true, false) => difference.begin.push(topic),
                (false, true) => {
                    tables.confirmed.remove(&topic);
                    difference.end.push(topic);
                }
                _ => {}
            }
        }
        difference
    }

    /// A new connection to Redis has nothing: everything is to be asked for.
    pub fn start_over(&self) -> Vec<Topic> {
        let mut tables = self.tables();
        tables.confirmed.clear();
        tables.touched.clear();
        tables.wanted.keys().cloned().collect()
    }

    /// Redis has confirmed these.
    pub fn confirm(&self, topics: Vec<Topic>) {
        let mut tables = self.tables();
        for topic in topics {
            if !tables.wanted.contains_key(&topic) {
                // Unwanted again meanwhile.
                tables.touched.insert(topic.clone());
                self.changed.notify_one();
            }
            tables.confirmed.insert(topic);
        }
        drop(tables);
        self.confirmed.notify_waiters();
    }

    /// Waits until Redis has confirmed this one, but not long.
    pub async fn confirmed(&self, topic: &Topic) {
        let confirmed = async {
            loop {
                let next = self.confirmed.notified();
                if self.tables().confirmed.contains(topic) {
                    return;
                }
                next.await;
            }
        };
        let _ = tokio::time::timeout(CONFIRMED_WITHIN, confirmed).await;
    }

    /// The people among what is wanted.
    pub fn people(&self) -> Vec<Participant> {
        let tables = self.tables();
        let person = |topic: &Topic| if let Topic::Person(person) = topic { Some(person.clone()) } else { None };
        tables.wanted.keys().filter_map(person).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_asked_for_once_and_given_up_by_the_last() {
        let follows = Follows::default();
        let topic = Topic::Person(Participant::shared_admin());
        assert!(follows.add(topic.clone()));
        assert!(!follows.add(topic.clone()));
        assert_eq!(follows.difference().begin, std::slice::from_ref(&topic));
        follows.confirm(vec![topic.clone()]);
        assert!(!follows.remove(&topic));
        assert!(follows.difference().end.is_empty());
        assert!(follows.remove(&topic));
        assert_eq!(follows.difference().end, std::slice::from_ref(&topic));
        assert!(follows.add(topic.clone()) && follows.remove(&topic));
        let nothing = follows.difference();
        assert!(nothing.begin.is_empty() && nothing.end.is_empty(), "came and went");
    }

    #[test]
    fn what_was_given_up_before_it_was_confirmed_is_given_up_afterwards() {
        let follows = Follows::default();
        let topic = Topic::Person(Participant::shared_admin());
        follows.add(topic.clone());
        let asked = follows.difference().begin;
        follows.remove(&topic);
        assert!(follows.difference().end.is_empty());
        follows.confirm(asked);
        assert_eq!(follows.difference().end, [topic]);
    }
}
