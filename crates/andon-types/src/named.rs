//! Enumerations of names: each variant with the name that it is on the wire.

/// Declares an enumeration whose variants have names, and how to find one by its name. A `match` finds it without a look at
/// each of the others.
macro_rules! named {
    ($(#[$attribute:meta])* $visibility:vis enum $name:ident { $($variant:ident = $text:pat,)+ }) => {
        $(#[$attribute])*
        $visibility enum $name {
            $($variant,)+
        }

        impl $name {
            const COUNT: usize = [$(Self::$variant),+].len();

            fn called(name: &str) -> Option<Self> {
                match name {
                    $($text => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

pub(crate) use named;
