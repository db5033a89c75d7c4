//go:build !wasip1

package handler

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// decodeStrict decodes a body of one JSON value. encoding/json changes or drops some
// input in silence, and decodeStrict refuses such input. Examples are bytes outside of
// UTF-8 and lone surrogates (both become U+FFFD), names in another case, unknown and
// repeated names, null, and text behind the value.
func decodeStrict(body string, into any) error {
	for i, size := 0, 0; i < len(body); i += size {
		var r rune
		if r, size = utf8.DecodeRuneInString(body[i:]); r == utf8.RuneError && size == 1 {
			return fmt.Errorf("byte %d is not UTF-8; other bytes go into fields in base64", i)
		}
	}
	var syntax *json.SyntaxError
	if err := json.Unmarshal([]byte(body), new(json.RawMessage)); errors.As(err, &syntax) {
		return fmt.Errorf("byte %d: %w", syntax.Offset, err)
	} else if err != nil {
		return err
	}
	s := strict{text: body}
	if err := s.value(reflect.TypeOf(into).Elem(), ""); err != nil {
		return err
	}
	return json.Unmarshal([]byte(body), into)
}

// strict walks through a valid JSON text beside the Go type of the value.
type strict struct {
	text string
	next int
}

// space skips white space and returns the byte behind it.
func (s *strict) space() byte {
	for strings.IndexByte(" \t\r\n", s.text[s.next]) >= 0 {
		s.next++
	}
	return s.text[s.next]
}

// in prefixes an error with its place in the value.
func in(path, format string, args ...any) error {
	if path == "" {
		return fmt.Errorf(format, args...)
	}
	return fmt.Errorf("%s: "+format, append([]any{path}, args...)...)
}

func (s *strict) value(t reflect.Type, path string) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	got := s.space()
	switch want := t.Kind(); {
	case got == '{' && want == reflect.Struct:
		return s.object(t, path)
	case got == '[' && want == reflect.Slice:
		return s.array(t, path)
	case got == '"' && want == reflect.String:
		_, err := s.str(path)
		return err
	case want == reflect.Uint64 && (got == '-' || got >= '0' && got <= '9'):
		number := s.literal()
		if _, err := strconv.ParseUint(number, 10, 64); err != nil {
			return in(path, "%s is not a whole number from 0 to 2^64-1", number)
		}
		return nil
	}
	return in(path, "%s; want %s", describe(got), wanted(t))
}

// literal returns a number, true, false or null.
func (s *strict) literal() string {
	rest := s.text[s.next:]
	if end := strings.IndexAny(rest, " \t\r\n,]}"); end >= 0 {
		rest = rest[:end]
	}
	s.next += len(rest)
	return rest
}

func describe(first byte) string {
	switch first {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "true or false"
	case 'n':
		return "null"
	}
	return "a number"
}

func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Struct:
		return "an object"
	case reflect.Slice:
		return "an array"
	case reflect.String:
		return "a string"
	case reflect.Uint64:
		return "a number"
	}
	panic(fmt.Sprintf("handler: requests have no %v", t))
}

func (s *strict) array(t reflect.Type, path string) error {
	for i := 0; s.more(']'); i++ {
		if err := s.value(t.Elem(), fmt.Sprintf("%s[%d]", path, i)); err != nil {
			return err
		}
	}
	return nil
}

// more moves past the opening bracket or a comma, and reports whether an element
// follows. At the end more moves past the closing bracket.
func (s *strict) more(end byte) bool {
	if c := s.space(); c != end {
		s.next++ // the bracket or the comma
	}
	if s.space() != end {
		return true
	}
	s.next++
	return false
}

func (s *strict) object(t reflect.Type, path string) error {
	fields := fieldsOf(t)
	given := make(map[string]bool)
	for s.more('}') {
		s.space()
		name, err := s.str(path)
		if err != nil {
			return err
		}
		field, known := fields[name]
		switch {
		case !known:
			return in(path, "there is no field %q", name)
		case given[name]:
			return in(path, "the field %q is given twice", name)
		}
		given[name] = true
		s.space()
		s.next++ // the colon
		inner := name
		if path != "" {
			inner = path + "." + name
		}
		if err := s.value(field, inner); err != nil {
			return err
		}
	}
	return nil
}

// fieldsOf returns the JSON names of a struct's fields, embedded ones included.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	fields := make(map[string]reflect.Type)
	for _, f := range reflect.VisibleFields(t) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			fields[name] = f.Type
		}
	}
	return fields
}

// str returns a string.
func (s *strict) str(path string) (string, error) {
	start := s.next
	for s.next++; s.text[s.next] != '"'; s.next++ {
		if s.text[s.next] != '\\' {
			continue
		}
		s.next++
		if s.text[s.next] == 'u' {
			if err := s.surrogates(path); err != nil {
				return "", err
			}
		}
	}
	s.next++
	var out string
	err := json.Unmarshal([]byte(s.text[start:s.next]), &out)
	return out, err
}

// surrogates moves past an escape such as \u00e9, and past both of a pair.
func (s *strict) surrogates(path string) error {
	first := s.hex(s.next + 1)
	s.next += 4
	if !utf16.IsSurrogate(first) {
		return nil
	}
	if strings.HasPrefix(s.text[s.next+1:], `\u`) && utf16.DecodeRune(first, s.hex(s.next+3)) != utf8.RuneError {
		s.next += 6
		return nil
	}
	return in(path, `\u%04x is half of a surrogate pair; other bytes go into fields in base64`, first)
}

// hex returns the four hexadecimal digits at a position.
func (s *strict) hex(at int) rune {
	n, err := strconv.ParseUint(s.text[at:at+4], 16, 32)
	if err != nil {
		panic(fmt.Sprintf("handler: %q in JSON that was valid", s.text[at:at+4]))
	}
	return rune(n)
}
