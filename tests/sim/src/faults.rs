//! What goes wrong between the processes and the API.

use crate::dice::Dice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The longest a watch is held back.
pub const LONGEST_STALL: Duration = Duration::from_secs(12);

/// How often each fault comes, in a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    /// Watch events held back for long, and all after them on the same watch.
    pub stall: u32,
    /// Events told twice.
    pub repeat: u32,
    /// Watches cut, so that what comes meanwhile is read anew from where it was.
    pub cut: u32,
    /// Watches that answer that their past is forgotten.
    pub expire: u32,
    /// Writes refused with a conflict nobody else caused.
    pub conflict: u32,
    /// Requests refused by a server in trouble.
    pub refuse: u32,
    /// Requests lost on the way there, and answers lost on the way back.
    pub lose: u32,
    /// Requests that take long.
    pub slow: u32,
}

/// The faults of one run. Clones share it.
#[derive(Clone)]
pub struct Weather {
    pub dice: Dice,
    rates: Rates,
    calm: Arc<AtomicBool>,
}

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Served,
    /// Not served, and answered with this.
    Refused(u16),
    /// Not served, and not answered.
    Lost,
    /// Served, and not answered.
    Unanswered,
}

/// What becomes of one watch event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    After(Duration),
    Twice(Duration),
    /// The connection ends before it.
    Cut,
    /// The watch ends before it, with 410.
    Expired,
}

impl Weather {
    pub fn new(seed: u64) -> Self {
        let dice = Dice::new(seed, "weather");
        let some = |most: usize| u32::try_from(dice.below(most)).unwrap_or(0);
        // One run in eight is only slow now and then: what goes wrong there goes wrong by itself.
        let rates = if dice.chance(125) {
            Rates { slow: 20, ..Rates::default() }
        } else {
            Rates {
                stall: some(50),
                repeat: some(60),
                cut: some(20),
                expire: some(10),
                conflict: some(60),
                refuse: some(30),
                lose: some(30),
                slow: some(50),
            }
        };
        Self { dice, rates, calm: Arc::default() }
    }

    /// From now on nothing goes wrong.
    pub fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    fn rates(&self) -> Rates {
        if self.calm.load(Ordering::Relaxed) { Rates::default() } else { self.rates }
    }

    /// How long one way takes.
    pub fn latency(&self) -> Duration {
        if self.dice.chance(self.rates().slow) { self.dice.millis(50, 2500) } else { self.dice.millis(0, 4) }
    }

    pub fn fate(&self, write: bool) -> Fate {
        let rates = self.rates();
        match () {
            () if write && self.dice.chance(rates.conflict) => Fate::Refused(409),
            () if self.dice.chance(rates.refuse) => {
                Fate::Refused(if self.dice.chance(500) { 500 } else { 429 })
            }
            () if self.dice.chance(rates.lose) => {
                if self.dice.chance(500) {
                    Fate::Lost
                } else {
                    Fate::Unanswered
                }
            }
            () => Fate::Served,
        }
    }

    pub fn delivery(&self) -> Delivery {
        let rates = self.rates();
        let soon = self.dice.millis(0, 15);
        match () {
            () if self.dice.chance(rates.cut) => Delivery::Cut,
            () if self.dice.chance(rates.expire) => Delivery::Expired,
            () if self.dice.chance(rates.stall) => {
                let longest = u64::try_from(LONGEST_STALL.as_millis()).unwrap_or(u64::MAX);
                Delivery::After(self.dice.millis(200, longest))
            }
            () if self.dice.chance(rates.repeat) => Delivery::Twice(soon),
            () => Delivery::After(soon),
        }
    }
}
