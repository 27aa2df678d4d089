//! Who gets which partition: balanced, and moving as few as possible.

/// Identifies a member within its group; later members have higher numbers.
pub(super) type MemberId = u64;

/// The wanted owner of each partition. `members` in the order they joined, `owners` as things are now.
/// Every member gets the same number of partitions or one more; a member keeps what it has as far as
/// that allows.
pub(super) fn balance(members: &[MemberId], owners: &[Option<MemberId>]) -> Vec<Option<MemberId>> {
    if members.is_empty() {
        return vec![None; owners.len()];
    }
    let (least, extra) = (owners.len() / members.len(), owners.len() % members.len());
    let mut wanted = vec![None; owners.len()];
    let mut rooms = rooms(members, owners, least, extra);
    for (slot, owner) in wanted.iter_mut().zip(owners) {
        if let Some(room) = rooms.iter_mut().find(|(member, room)| Some(*member) == *owner && *room > 0) {
            *slot = Some(room.0);
            room.1 -= 1;
        }
    }
    for slot in wanted.iter_mut().filter(|slot| slot.is_none()) {
        if let Some(room) = rooms.iter_mut().find(|(_, room)| *room > 0) {
            *slot = Some(room.0);
            room.1 -= 1;
        }
    }
    wanted
}

/// How many each may have. The larger shares go to those who hold most already, so that they keep them.
fn rooms(members: &[MemberId], owners: &[Option<MemberId>], least: usize, extra: usize) -> Vec<(MemberId, usize)> {
    let held = |member: &MemberId| owners.iter().filter(|owner| **owner == Some(*member)).count();
    let mut ranked: Vec<MemberId> = members.to_vec();
    ranked.sort_by_key(|member| std::cmp::Reverse(held(member)));
    ranked.iter().enumerate().map(|(rank, member)| (*member, least + usize::from(rank < extra))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_even_and_few_partitions_move() {
        let alone = balance(&[1], &[None; 5]);
        assert_eq!(alone, vec![Some(1); 5]);
        let two = balance(&[1, 2], &alone);
        assert_eq!(two.iter().filter(|owner| **owner == Some(1)).count(), 3);
        let three = balance(&[1, 2, 3], &two);
        let moved = two.iter().zip(&three).filter(|(before, after)| before != after).count();
        assert_eq!(moved, 1, "{two:?} -> {three:?}");
        let back = balance(&[2, 3], &three);
        assert!(three.iter().zip(&back).all(|(before, after)| *before == Some(1) || before == after), "{three:?} -> {back:?}");
    }

    #[test]
    fn more_members_than_partitions_leave_some_without() {
        assert_eq!(balance(&[1, 2, 3], &[Some(2), None]).iter().flatten().count(), 2);
        assert_eq!(balance(&[], &[Some(2)]), [None]);
    }
}
