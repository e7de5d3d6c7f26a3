//! The pages in German.

use std::time::Duration;

use super::text::{
    AccountText, ConfirmDeviceText, ConsentText, EnterCodeText, FormPostText, MessageText, RefusedText, SignInText,
    SignOutText, Text,
};
use super::units::{Unit, rounded, wait};

/// Everything that the pages say.
pub(super) const TEXT: Text = Text {
    direction: "ltr",
    error: "Fehler: ",
    sign_in: SignInText {
        title: "Anmelden",
        for_client: ("um fortzufahren mit ", ""),
        for_device: "um Ihr Gerät zu verbinden",
        for_account: "um zu sehen, was Sie erlaubt haben",
        username: "Benutzername",
        password: "Passwort",
        submit: "Anmelden",
        unknown: "Der Benutzername oder das Passwort ist falsch.",
        throttled: |time| format!("Zu viele Versuche. Versuchen Sie es in {} wieder.", many(wait(time))),
    },
    consent: ConsentText {
        title: "Zugriff erlauben?",
        heading: ("", " möchte auf Ihr Konto zugreifen"),
        registered_itself: "Diese Anwendung hat sich selbst registriert. Niemand hat geprüft, ob sie ist, was sie zu sein angibt.",
        documented_at: (
            "Diese Anwendung ist von ",
            ". Erlauben Sie es nur, wenn Sie diese Adresse kennen und ihr vertrauen.",
        ),
        stays_here: "Es geht in einem Programm auf diesem Gerät weiter. Erlauben Sie es nur, wenn Sie dieses Programm gerade selbst gestartet haben.",
        permissions: "Wenn Sie es erlauben, ist damit möglich:",
        no_permissions: "Es wird nichts verlangt als zu wissen, wer Sie sind.",
        destination: ("In beiden Fällen geht es zurück zu ", "."),
        approve: "Erlauben",
        decline: "Ablehnen",
        signed_in_as: ("Angemeldet als ", "."),
        switch: "Nicht Sie?",
    },
    enter_code: EnterCodeText {
        title: "Ein Gerät verbinden",
        hint: "Geben Sie den Code ein, den Ihr Gerät zeigt.",
        code: "Code",
        submit: "Weiter",
        next: "Danach melden Sie sich an und sehen, was das Gerät verlangt. Vorher wird nichts erlaubt.",
        malformed: "Ein Code hat acht Buchstaben. Vergleichen Sie ihn mit Ihrem Gerät.",
        unknown: "Dieser Code ist falsch oder zu alt. Vergleichen Sie ihn mit Ihrem Gerät, oder lassen Sie das Gerät \
                  einen neuen zeigen.",
        throttled: |time| format!("Zu viele falsche Codes. Versuchen Sie es in {} wieder.", many(wait(time))),
        interrupted: "Die Anmeldung wurde unterbrochen oder hat zu lange gedauert. Geben Sie den Code noch einmal ein.",
    },
    confirm_device: ConfirmDeviceText {
        title: "Dieses Gerät verbinden?",
        heading: ("", " mit Ihrem Konto verbinden?"),
        code: "Ihr Gerät muss diesen Code zeigen:",
        permissions: "Wenn Sie zustimmen, ist damit möglich:",
        asked: "Angefragt",
        ago,
        from: "Von der Netzwerkadresse",
        nearby: "dieselbe wie die dieses Browsers",
        elsewhere: "nicht die dieses Browsers",
        warning: "Hat Ihnen jemand diesen Code oder diesen Link geschickt? Dann lehnen Sie ab: Sie würden ein fremdes \
                  Gerät in Ihr Konto lassen. Stimmen Sie nur zu, wenn das Gerät vor Ihnen steht und Sie den Vorgang \
                  gerade selbst darauf begonnen haben.",
        approve: "Zustimmen",
    },
    device_approved: MessageText {
        title: "Alles bereit",
        text: "Kehren Sie zu Ihrem Gerät zurück: In wenigen Sekunden geht es dort von selbst weiter. Sie können dieses \
               Fenster schließen.",
    },
    device_declined: MessageText {
        title: "Abgelehnt",
        text: "Das Gerät erhält keinen Zugriff auf Ihr Konto. Sie können dieses Fenster schließen.",
    },
    account: AccountText {
        title: "Ihr Konto",
        heading: "Anwendungen und Geräte",
        introduction: "Diese haben Zugriff auf Ihr Konto. Wenn Sie etwas davon nicht kennen oder nicht mehr benutzen, \
                       beenden Sie den Zugriff.",
        empty: "Nichts hat Zugriff auf Ihr Konto.",
        more: "Es gibt ältere. Sie erscheinen hier, wenn Sie einige von diesen beenden.",
        may: "Damit ist möglich:",
        may_nothing: "Bekannt ist dort, wer Sie sind.",
        in_browser: "Anwendung in einem Browser",
        at_device: |address| format!("Gerät, von der Netzwerkadresse {address}"),
        allowed: |age| format!("Erlaubt {}", ago(age)),
        used: |age| format!("Zuletzt benutzt {}", ago(age)),
        end: "Zugriff beenden",
        end_which: ("von ", ""),
        ended: ("Der Zugriff von ", " ist beendet."),
        gone_already: "Dieser Zugriff war schon beendet.",
        sessions: "Abmelden",
        everywhere: "Überall abmelden",
        everywhere_hint: "In jedem Browser, in dem Sie angemeldet sind, auch in diesem.",
        end_grants: "Auch den Zugriff aller Anwendungen und Geräte beenden",
    },
    sign_out: SignOutText {
        title: "Abmelden?",
        text: "Anwendungen, denen Sie es erlaubt haben, behalten ihren Zugriff.",
        submit: "Abmelden",
    },
    signed_out: MessageText { title: "Sie sind abgemeldet", text: "Sie können dieses Fenster schließen." },
    form_post: FormPostText {
        title: "Zurück zur Anwendung",
        text: "Sie werden zurückgeleitet. Wenn nichts geschieht, drücken Sie die Taste.",
        submit: "Weiter",
    },
    refused: RefusedText {
        title: "Hier geht es nicht weiter",
        text: "Gehen Sie zurück zu der Anwendung, von der Sie kommen, und beginnen Sie neu. Hilft das nicht, teilen Sie \
               ihren Herstellern mit:",
        code: "Fehler:",
    },
    wrong_method: MessageText {
        title: "Hier gibt es nichts zu sehen",
        text: "Diese Adresse ist nicht dafür gedacht, so geöffnet zu werden. Gehen Sie zurück zur Anwendung und beginnen \
               Sie neu.",
    },
    unavailable: MessageText {
        title: "Versuchen Sie es gleich wieder",
        text: "Etwas, worauf dieser Server angewiesen ist, antwortet nicht. Versuchen Sie es in einem Moment wieder.",
    },
};

/// How long ago something was.
fn ago(age: Duration) -> String {
    match rounded(age) {
        (0, Unit::Minute) => "vor weniger als einer Minute".to_owned(),
        time => format!("vor {}", many(time)),
    }
}

/// A number of units in the dative, which `vor` and `in` ask for.
fn many((number, unit): (u64, Unit)) -> String {
    let (one, several) = match unit {
        Unit::Second => ("einer Sekunde", "Sekunden"),
        Unit::Minute => ("einer Minute", "Minuten"),
        Unit::Hour => ("einer Stunde", "Stunden"),
        Unit::Day => ("einem Tag", "Tagen"),
        Unit::Month => ("einem Monat", "Monaten"),
        Unit::Year => ("einem Jahr", "Jahren"),
    };
    if number == 1 { one.to_owned() } else { format!("{number} {several}") }
}
