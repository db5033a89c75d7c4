package sim

import (
	"regexp"
	"strings"
	"unicode"
)

// signature is equal for failures of one kind. The signature holds the verdict,
// the place, and the message without the parts that differ between worlds.
// These parts are numbers, quoted texts, random strings, and the contents of
// maps, lists and structures. A panic has its place at the end.
func signature(v Verdict, detail string) string {
	place := placeRE.FindString(detail)
	if v == Spin || v == Liveness && place == "" {
		return string(v)
	}
	message, end := detail[len(place):], ""
	if i := insideRE.FindStringIndex(message); i != nil {
		message, end = message[:i[0]], message[i[0]:]
	}
	return string(v) + " " + place + template(message) + end
}

var (
	insideRE  = regexp.MustCompile(`: in \S+ [\w.-]+\.go:\d+$`)
	valueRE   = regexp.MustCompile(`(?:&|\b(?:map|[\w*]+\.\w+))?(?:\[[^][{}]*\]|\{[^][{}]*\})`)
	versusRE  = regexp.MustCompile(`\b(expected|actual|want|got)( *[:=] *)\S+`)
	quotedRE  = regexp.MustCompile("\"(?:[^\"\\\\]|\\\\.)*(?:\"|$)|`[^`]*(?:`|$)")
	wordRE    = regexp.MustCompile(`[\pL\p{Nd}_+/=-]{6,}`)
	numbersRE = regexp.MustCompile(`0x[0-9a-f]+|\d+(\.\d+)?(ns|µs|ms|s)?`)
	listRE    = regexp.MustCompile(`\*(?:[ ,;:]+\*)+`)
)

// template replaces the parts that differ between worlds by asterisks. A list
// of asterisks counts as one, because the length of a list differs as well.
func template(message string) string {
	message = quotedRE.ReplaceAllStringFunc(message, func(text string) string {
		if text == `""` || text == "``" {
			return text // an empty text is often another failure
		}
		return "*"
	})
	for range 4 { // as deep as values usually are
		message = valueRE.ReplaceAllString(message, "*")
	}
	message = versusRE.ReplaceAllString(message, "$1$2*")
	message = wordRE.ReplaceAllStringFunc(message, func(word string) string {
		if looksDrawn(word) {
			return "*"
		}
		return word
	})
	message = numbersRE.ReplaceAllString(message, "*")
	return listRE.ReplaceAllString(message, "*")
}

// looksDrawn guesses whether a word is a random string. A wrong guess does
// little harm. The fixed words of a message are the same in all failures of one
// kind, and the place separates the kinds.
func looksDrawn(word string) bool {
	var letters, digits, vowels, changes, consonants, longest int
	last := rune(0)
	for _, r := range word {
		switch {
		case unicode.IsDigit(r):
			digits++
		case unicode.IsLetter(r):
			letters++
		}
		if isVowel(r) {
			vowels++
		}
		if consonants++; !unicode.IsLetter(r) || isVowel(r) || changed(last, r) {
			consonants = 0
		}
		longest = max(longest, consonants)
		if changed(last, r) {
			changes++
		}
		last = r
	}
	switch {
	case digits > 0 && letters == 0, digits > 1, digits == 1 && changes > 2:
		return true
	case letters < 8:
		return false
	}
	return 5*vowels < letters || longest > 4 || 5*changes > 2*letters || len(word) > 15 && changes > 1
}

func isVowel(r rune) bool { return strings.ContainsRune("aeiouyAEIOUY", r) }

// changed reports whether a word goes from one class of characters to another.
func changed(a, b rune) bool { return class(a) != 0 && class(b) != 0 && class(a) != class(b) }

func class(r rune) int {
	switch {
	case unicode.IsUpper(r):
		return 1
	case unicode.IsLetter(r):
		return 2
	case unicode.IsDigit(r):
		return 3
	}
	return 0
}
