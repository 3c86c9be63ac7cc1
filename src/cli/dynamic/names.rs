//! How one name is written in different ways: `PingPong`, `ping-pong`, `ping_pong`.

/// `PingPong` and `ping_pong` as `ping-pong`, `GetHTTPStatus` as `get-http-status`. Dots stay.
pub(super) fn kebab(name: &str) -> String {
    let characters: Vec<char> = name.chars().collect();
    let mut kebab = String::with_capacity(name.len() + 4);
    for (index, &character) in characters.iter().enumerate() {
        if character == '_' || character == '-' {
            kebab.push('-');
            continue;
        }
        let previous = index.checked_sub(1).map(|index| characters[index]);
        let starts_word = character.is_uppercase()
            && previous.is_some_and(|previous| {
                let ends_acronym = characters.get(index + 1).is_some_and(|next| next.is_lowercase());
                previous.is_lowercase() || previous.is_numeric() || (previous.is_uppercase() && ends_acronym)
            });
        if starts_word {
            kebab.push('-');
        }
        kebab.extend(character.to_lowercase());
    }
    kebab
}

/// The JSON name that protobuf gives a field: `user_email` as `userEmail`.
pub(super) fn camel(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    let mut upper = false;
    for character in name.chars() {
        if character == '_' {
            upper = true;
        } else if std::mem::take(&mut upper) {
            camel.push(character.to_ascii_uppercase());
        } else {
            camel.push(character);
        }
    }
    camel
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_name_are_joined_by_hyphens() {
        for (name, expected) in [
            ("PingPong", "ping-pong"),
            ("Call", "call"),
            ("getService", "get-service"),
            ("GetHTTPStatus", "get-http-status"),
            ("HTTP", "http"),
            ("V2Get", "v2-get"),
            ("Ping_Pong", "ping-pong"),
            ("BarHandler", "bar-handler"),
        ] {
            assert_eq!(kebab(name), expected);
        }
    }

    #[test]
    fn json_names_follow_protobuf() {
        assert_eq!(camel("user_friend_email"), "userFriendEmail");
        assert_eq!(camel("name"), "name");
    }
}
