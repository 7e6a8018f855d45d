//! The shortest plan that still fails: delta debugging over the places of its steps.

/// Leaves out what is not needed for `fails`, which holds for all of `steps`: halves first, then ever smaller parts,
/// until no single step can go. `fails` is asked at most `tries` times.
pub(crate) fn shrink(steps: &[usize], tries: usize, mut fails: impl FnMut(&[usize]) -> bool) -> Vec<usize> {
    let mut kept = steps.to_vec();
    let mut parts = 2;
    let mut left = tries;
    while !kept.is_empty() && left > 0 {
        let length = kept.len().div_ceil(parts);
        let mut is_smaller = false;
        // From the end, because what comes after the failure goes at once.
        for start in (0..kept.len()).step_by(length).collect::<Vec<_>>().into_iter().rev() {
            if left == 0 || start >= kept.len() {
                break;
            }
            let end = (start + length).min(kept.len());
            let rest: Vec<usize> = kept[..start].iter().chain(&kept[end..]).copied().collect();
            left -= 1;
            if fails(&rest) {
                kept = rest;
                is_smaller = true;
            }
        }
        if length == 1 && !is_smaller {
            break;
        }
        parts = if length == 1 { kept.len().max(1) } else { (parts * 2).min(kept.len().max(1)) };
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(wanted: &[usize]) -> impl Fn(&[usize]) -> bool {
        move |kept| wanted.iter().all(|step| kept.contains(step))
    }

    #[test]
    fn only_what_is_needed_is_left() {
        let steps: Vec<usize> = (0..60).collect();
        for wanted in [&[7][..], &[0, 59], &[3, 4, 5, 31], &[]] {
            assert_eq!(shrink(&steps, 1_000, needs(wanted)), wanted);
        }
        assert_eq!(shrink(&[9], 10, needs(&[9])), [9]);
    }

    #[test]
    fn it_gives_up_with_something_that_fails() {
        let steps: Vec<usize> = (0..60).collect();
        let kept = shrink(&steps, 5, needs(&[7, 50]));
        assert!(kept.len() < 60 && kept.contains(&7) && kept.contains(&50));
    }

    #[test]
    fn a_failure_that_depends_on_a_number_of_steps_is_found() {
        let steps: Vec<usize> = (0..40).collect();
        assert_eq!(shrink(&steps, 1_000, |kept| kept.iter().filter(|step| *step % 3 == 0).count() >= 3).len(), 3);
    }
}
