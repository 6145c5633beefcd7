use std::collections::BTreeMap;

use proptest::prelude::*;

use super::Ascending;

proptest! {
    #[test]
    fn it_is_a_map(steps in proptest::collection::vec((any::<bool>(), 0_u64..40), 0..200)) {
        let (mut ascending, mut map, mut last) = (Ascending::default(), BTreeMap::new(), 0);
        for (adds, number) in steps {
            if adds {
                last += 1;
                ascending.push(last, number);
                map.insert(last, number);
            } else {
                prop_assert_eq!(ascending.get(number), map.get(&number));
                prop_assert_eq!(ascending.get_mut(number), map.get_mut(&number));
                prop_assert_eq!(ascending.remove(number), map.remove(&number));
            }
            prop_assert_eq!(ascending.len(), map.len());
            prop_assert_eq!(ascending.is_empty(), map.is_empty());
            prop_assert!(ascending.iter().eq(map.iter().map(|(key, value)| (*key, value))));
            prop_assert!(ascending.iter_mut().eq(map.iter_mut().map(|(key, value)| (*key, value))));
        }
    }
}
