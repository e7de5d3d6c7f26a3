//! Everything that the pages say: a language fills in all of it, or it does not compile.

use std::net::IpAddr;
use std::time::Duration;

/// What stands before and after a text that somebody else supplied.
pub(super) type Around = (&'static str, &'static str);

/// The pages in one language.
pub(super) struct Text {
    /// `ltr` or `rtl`.
    pub(super) direction: &'static str,
    /// What stands before the title of a page that is shown again for a mistake.
    pub(super) error: &'static str,
    pub(super) sign_in: SignInText,
    pub(super) consent: ConsentText,
    pub(super) enter_code: EnterCodeText,
    pub(super) confirm_device: ConfirmDeviceText,
    pub(super) device_approved: MessageText,
    pub(super) device_declined: MessageText,
    pub(super) account: AccountText,
    pub(super) sign_out: SignOutText,
    pub(super) signed_out: MessageText,
    pub(super) form_post: FormPostText,
    pub(super) refused: RefusedText,
    pub(super) wrong_method: MessageText,
    pub(super) unavailable: MessageText,
}

/// A page that only says something.
pub(super) struct MessageText {
    pub(super) title: &'static str,
    pub(super) text: &'static str,
}

/// The sign-in page.
pub(super) struct SignInText {
    pub(super) title: &'static str,
    /// Around the name of a client.
    pub(super) for_client: Around,
    pub(super) for_device: &'static str,
    pub(super) for_account: &'static str,
    pub(super) username: &'static str,
    pub(super) password: &'static str,
    pub(super) submit: &'static str,
    pub(super) unknown: &'static str,
    /// How long to wait after too many attempts.
    pub(super) throttled: fn(Duration) -> String,
}

/// The consent page.
pub(super) struct ConsentText {
    pub(super) title: &'static str,
    /// Around the name of the client.
    pub(super) heading: Around,
    /// About a client that has registered itself.
    pub(super) registered_itself: &'static str,
    /// Around the host of a client that says what it is in a document there.
    pub(super) documented_at: Around,
    /// About a client that nobody has checked, and that sends the browser to its own machine.
    pub(super) stays_here: &'static str,
    pub(super) permissions: &'static str,
    pub(super) no_permissions: &'static str,
    /// Around where the browser goes next.
    pub(super) destination: Around,
    pub(super) approve: &'static str,
    pub(super) decline: &'static str,
    /// Around the name of the person.
    pub(super) signed_in_as: Around,
    pub(super) switch: &'static str,
}

/// The page that asks for a user code.
pub(super) struct EnterCodeText {
    pub(super) title: &'static str,
    pub(super) hint: &'static str,
    pub(super) code: &'static str,
    pub(super) submit: &'static str,
    pub(super) next: &'static str,
    pub(super) malformed: &'static str,
    pub(super) unknown: &'static str,
    /// How long to wait after too many wrong codes.
    pub(super) throttled: fn(Duration) -> String,
    pub(super) interrupted: &'static str,
}

/// The page that asks about a device. What it shares with the consent page is there.
pub(super) struct ConfirmDeviceText {
    pub(super) title: &'static str,
    /// Around the name of the client.
    pub(super) heading: Around,
    pub(super) code: &'static str,
    pub(super) permissions: &'static str,
    pub(super) asked: &'static str,
    /// How long ago the device asked.
    pub(super) ago: fn(Duration) -> String,
    pub(super) from: &'static str,
    pub(super) nearby: &'static str,
    pub(super) elsewhere: &'static str,
    pub(super) warning: &'static str,
    pub(super) approve: &'static str,
}

/// The account page.
pub(super) struct AccountText {
    pub(super) title: &'static str,
    pub(super) heading: &'static str,
    pub(super) introduction: &'static str,
    pub(super) empty: &'static str,
    pub(super) more: &'static str,
    pub(super) may: &'static str,
    pub(super) may_nothing: &'static str,
    pub(super) in_browser: &'static str,
    /// Where a device asked from.
    pub(super) at_device: fn(IpAddr) -> String,
    /// How long ago it was allowed.
    pub(super) allowed: fn(Duration) -> String,
    /// How long ago it was used.
    pub(super) used: fn(Duration) -> String,
    pub(super) end: &'static str,
    /// Around the name of the client, for those who do not see which entry a button belongs to.
    pub(super) end_which: Around,
    /// Around the name of the client.
    pub(super) ended: Around,
    pub(super) gone_already: &'static str,
    pub(super) sessions: &'static str,
    pub(super) everywhere: &'static str,
    pub(super) everywhere_hint: &'static str,
    pub(super) end_grants: &'static str,
}

/// The page that asks whether to sign out.
pub(super) struct SignOutText {
    pub(super) title: &'static str,
    pub(super) text: &'static str,
    pub(super) submit: &'static str,
}

/// The page that takes a response back to its application.
pub(super) struct FormPostText {
    pub(super) title: &'static str,
    pub(super) text: &'static str,
    pub(super) submit: &'static str,
}

/// The page about a request that cannot go on.
pub(super) struct RefusedText {
    pub(super) title: &'static str,
    /// Before what the makers of the application need to know, which is in English.
    pub(super) text: &'static str,
    /// Before the name of the error.
    pub(super) code: &'static str,
}
