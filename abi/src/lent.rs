//! Stores that have a plug-in's state for a while: each call of a linked command runs in one of its own, because an
//! engine frees the instances of a store together. Which commands can, and calling them, is `link`'s.

use wasmtime::{AsContextMut, Store, StoreContextMut};

use crate::limits::Held;
use crate::state::InstanceState;
use crate::store::store_for;

/// A store that has the state, the fuel and the deadline of a plug-in, until it is dropped: also where the call is
/// stopped in the middle.
pub(crate) struct Lent<'a, T: Send + 'static> {
    /// The plug-in's own store, which runs nothing meanwhile.
    home: StoreContextMut<'a, InstanceState<T>>,
    /// Always there until the state goes home.
    away: Option<Store<InstanceState<T>>>,
    /// Memories and tables of the plug-in itself.
    held: Held,
}

impl<'a, T: Send + 'static> Lent<'a, T> {
    pub(crate) fn new(mut home: StoreContextMut<'a, InstanceState<T>>) -> wasmtime::Result<Self> {
        let fuel = home.get_fuel()?;
        let engine = home.engine().clone();
        let state = home.data_mut().lend();
        let held = state.growth.held();
        let mut lent = Self { home, away: Some(store_for(&engine, state)), held };
        lent.store().set_fuel(fuel)?;
        lent.store().set_epoch_deadline(1);
        Ok(lent)
    }

    #[expect(clippy::expect_used, reason = "only dropping takes the store")]
    pub(crate) fn store(&mut self) -> StoreContextMut<'_, InstanceState<T>> {
        self.away.as_mut().expect("the store of a command").as_context_mut()
    }
}

impl<T: Send + 'static> Drop for Lent<'_, T> {
    fn drop(&mut self) {
        let Some(away) = self.away.take() else { return };
        // Engines count fuel where it is on, and here it always is.
        let left = away.get_fuel().unwrap_or(0);
        let mut state = away.into_data();
        state.growth.give_back(self.held);
        *self.home.data_mut() = state;
        // Cannot fail, for the same reason.
        let _ = self.home.set_fuel(left);
    }
}
