//! The pages in English.

use std::time::Duration;

use super::text::{
    AccountText, ConfirmDeviceText, ConsentText, EnterCodeText, FormPostText, MessageText, RefusedText, SignInText,
    SignOutText, Text,
};
use super::units::{Unit, rounded, wait};

/// Everything that the pages say.
pub(super) const TEXT: Text = Text {
    direction: "ltr",
    error: "Error: ",
    sign_in: SignInText {
        title: "Sign in",
        for_client: ("to continue to ", ""),
        for_device: "to connect your device",
        for_account: "to see what you have allowed",
        username: "Username",
        password: "Password",
        submit: "Sign in",
        unknown: "The username or the password is wrong.",
        throttled: |time| format!("Too many attempts. Try again in {}.", many(wait(time))),
    },
    consent: ConsentText {
        title: "Allow access?",
        heading: ("", " asks for access to your account"),
        registered_itself: "This application has registered itself. Nobody has checked that it is what it says.",
        documented_at: ("This application is from ", ". Allow it only if you know and trust that address."),
        stays_here: "It goes on in a program on this device. Allow it only if you have just started that program yourself.",
        permissions: "If you allow it, it can:",
        no_permissions: "It asks for no permission but to know who you are.",
        destination: ("Either way you will be sent back to ", "."),
        approve: "Allow",
        decline: "Decline",
        signed_in_as: ("Signed in as ", "."),
        switch: "Not you?",
    },
    enter_code: EnterCodeText {
        title: "Connect a device",
        hint: "Enter the code that your device shows.",
        code: "Code",
        submit: "Continue",
        next: "You will sign in next, and then see what the device asks for. Nothing is allowed before that.",
        malformed: "A code has eight letters. Compare it with your device.",
        unknown: "This code is wrong or too old. Compare it with your device, or let the device show a new one.",
        throttled: |time| format!("Too many wrong codes. Try again in {}.", many(wait(time))),
        interrupted: "Signing in was interrupted or took too long. Enter the code once more.",
    },
    confirm_device: ConfirmDeviceText {
        title: "Connect this device?",
        heading: ("Connect ", " to your account?"),
        code: "Your device must show this code:",
        permissions: "If you approve, it can:",
        asked: "Asked",
        ago,
        from: "From the network address",
        nearby: "the same as that of this browser",
        elsewhere: "not that of this browser",
        warning: "Did somebody send you this code or this link? Then decline: you would let their device into your \
                  account. Approve only if the device is in front of you and you have just started this on it.",
        approve: "Approve",
    },
    device_approved: MessageText {
        title: "All set",
        text: "Return to your device: it goes on by itself in a few seconds. You may close this window.",
    },
    device_declined: MessageText {
        title: "Declined",
        text: "The device gets no access to your account. You may close this window.",
    },
    account: AccountText {
        title: "Your account",
        heading: "Applications and devices",
        introduction: "These have access to your account. If you do not know one, or do not use it any more, end its access.",
        empty: "Nothing has access to your account.",
        more: "There are older ones, which are shown here when you end some of these.",
        may: "It can:",
        may_nothing: "It knows who you are.",
        in_browser: "Application in a browser",
        at_device: |address| format!("Device, from the network address {address}"),
        allowed: |age| format!("Allowed {}", ago(age)),
        used: |age| format!("Last used {}", ago(age)),
        end: "End access",
        end_which: ("of ", ""),
        ended: ("The access of ", " has ended."),
        gone_already: "This access had ended already.",
        sessions: "Sign out",
        everywhere: "Sign out everywhere",
        everywhere_hint: "In every browser in which you are signed in, this one included.",
        end_grants: "End the access of all applications and devices too",
    },
    sign_out: SignOutText {
        title: "Sign out?",
        text: "Applications that you have allowed keep their access.",
        submit: "Sign out",
    },
    signed_out: MessageText { title: "You are signed out", text: "You may close this window." },
    form_post: FormPostText {
        title: "Back to the application",
        text: "You are being taken back. If nothing happens, press the button.",
        submit: "Continue",
    },
    refused: RefusedText {
        title: "This request cannot go on",
        text: "Go back to the application that you came from and start again. If that does not help, tell its makers:",
        code: "Error:",
    },
    wrong_method: MessageText {
        title: "There is nothing to see here",
        text: "This address is not made for being opened like this. Go back to the application and start again.",
    },
    unavailable: MessageText {
        title: "Try again shortly",
        text: "Something that this server depends on does not answer. Try again in a moment.",
    },
};

/// How long ago something was.
fn ago(age: Duration) -> String {
    match rounded(age) {
        (0, Unit::Minute) => "less than a minute ago".to_owned(),
        time => format!("{} ago", many(time)),
    }
}

/// A number of units.
fn many((number, unit): (u64, Unit)) -> String {
    let name = match unit {
        Unit::Second => "second",
        Unit::Minute => "minute",
        Unit::Hour => "hour",
        Unit::Day => "day",
        Unit::Month => "month",
        Unit::Year => "year",
    };
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {name}{plural}")
}
