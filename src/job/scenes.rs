//! Which scene a worker gets.

/// A scene that is open, as it is weighed against others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SceneOffer<T> {
    /// The project's; a lower number comes first.
    pub priority: f64,
    /// Workers that have it now.
    pub holders: usize,
    pub frames: u32,
    pub what: T,
}

/// The scene for whoever asks: scenes that nobody has, by priority, the largest first, so that no large
/// one is left for the end; when all are taken, the one that the fewest have once more: its worker may
/// be slow, or gone (grav1 contract, section 3.7). Of equal ones the first.
pub fn choose_scene<T>(offers: impl Iterator<Item = SceneOffer<T>>) -> Option<T> {
    let before = |a: &SceneOffer<T>, b: &SceneOffer<T>| {
        let taken = (a.holders > 0).cmp(&(b.holders > 0));
        let priority = taken.then(a.priority.total_cmp(&b.priority));
        let holders = priority.then(a.holders.cmp(&b.holders));
        holders.then(b.frames.cmp(&a.frames)).is_lt()
    };
    let better = |best: Option<SceneOffer<T>>, offer: SceneOffer<T>| match best {
        Some(best) if !before(&offer, &best) => Some(best),
        _ => Some(offer),
    };
    offers.fold(None, better).map(|offer| offer.what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(offers: &[(f64, usize, u32)]) -> Option<usize> {
        let offer = |(what, o): (usize, &(f64, usize, u32))| SceneOffer {
            priority: o.0,
            holders: o.1,
            frames: o.2,
            what,
        };
        choose_scene(offers.iter().enumerate().map(offer))
    }

    #[test]
    fn the_order_is_that_of_the_contract() {
        assert_eq!(chosen(&[]), None);
        assert_eq!(chosen(&[(1.0, 0, 900), (0.5, 0, 10)]), Some(1));
        assert_eq!(chosen(&[(0.0, 0, 10), (0.0, 0, 30), (0.0, 0, 30)]), Some(1));
        assert_eq!(chosen(&[(0.0, 1, 30), (0.0, 0, 10)]), Some(1));
        assert_eq!(chosen(&[(0.0, 1, 30), (5.0, 0, 10)]), Some(1));
        assert_eq!(chosen(&[(0.0, 2, 30), (0.0, 1, 10), (0.0, 1, 20)]), Some(2));
    }
}
