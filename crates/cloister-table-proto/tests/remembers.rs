//! Since which view an owner remembers the operations of a slot.

mod course;

use course::{Course, epoch};

#[test]
fn an_owner_remembers_operations_since_it_owns_the_slot() {
    let mut course = Course::new(None);
    let [first, second, third] = course.order();
    let (two, others) = ([second.clone(), third.clone()], [first.clone(), third.clone()]);
    let three = [first, second.clone(), third];
    let remembers = |course: &Course, since: u64| course.tables[&second].remembers(course.slot, epoch(since));
    course.view(1, 0, &two);
    course.view(2, 1, &two);
    assert!(remembers(&course, 1) && remembers(&course, 2) && !remembers(&course, 0));
    // Another node owns it, and it comes back.
    course.view(3, 2, &three);
    assert!(!remembers(&course, 2) && !remembers(&course, 3));
    course.view(4, 3, &two);
    assert!(!remembers(&course, 2) && !remembers(&course, 3) && remembers(&course, 4));
    // The others have a view without it.
    course.view(6, 4, &others);
    course.view(7, 6, &two);
    assert!(!remembers(&course, 4) && remembers(&course, 7) && course.losses.is_empty());
}

#[test]
fn an_owner_remembers_no_operation_from_before_a_loss() {
    let mut course = Course::new(None);
    let [owner, copy, other] = course.order();
    course.view(1, 0, &[owner.clone(), copy.clone(), other.clone()]);
    course.insert(&owner, "key", "old");
    course.settle(|_, _, _| false);
    // The others go on without it, write, and end.
    course.view(2, 1, &[copy.clone(), other.clone()]);
    course.insert(&copy, "key", "new");
    course.settle(|_, _, _| false);
    course.ends(&copy);
    course.ends(&other);
    course.view(3, 1, std::slice::from_ref(&owner));
    assert_eq!((course.read(&owner, "key"), course.losses.as_slice()), (Some("old".into()), &[false][..]));
    let remembers = |since: u64| course.tables[&owner].remembers(course.slot, epoch(since));
    assert!(!remembers(1) && remembers(3));
}
