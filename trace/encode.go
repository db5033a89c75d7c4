package trace

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strconv"
	"unicode/utf8"
)

// appendEvent appends an event as a line of JSON. Package json would lock mutexes now and
// then, and so change the schedule of a simulated run that is being streamed.
func appendEvent(b []byte, e *Event) []byte {
	b = append(b, `{"ev":{"t":`...)
	b = strconv.AppendInt(b, int64(e.Time), 10)
	b = append(b, `,"k":"`...)
	b = append(b, e.Kind.String()...)
	b = append(b, `","l":`...)
	b = strconv.AppendInt(b, int64(e.Lane), 10)
	b = appendNumber(b, `,"p":`, int64(e.Peer))
	b = appendUnsigned(b, `,"m":`, e.Message)
	b = appendUnsigned(b, `,"c":`, e.Call)
	b = appendTrue(b, `,"r":true`, e.Reply)
	b = appendTrue(b, `,"again":true`, e.Copy)
	b = appendTrue(b, `,"leads":true`, e.Leads)
	b = appendText(b, `,"n":`, e.Name)
	b = appendText(b, `,"x":`, e.Text)
	b = appendNumber(b, `,"term":`, int64(e.Term))
	b = appendNumber(b, `,"index":`, int64(e.Index))
	b = appendNumber(b, `,"o":`, e.Output)
	b = appendContent(b, e)
	return append(b, "}}\n"...)
}

// IsEvent reports whether a line of a stream is an event.
func IsEvent(line []byte) bool { return bytes.HasPrefix(line, []byte(`{"ev":`)) }

// appendContent appends the content of a message.
func appendContent(b []byte, e *Event) []byte {
	if len(e.Fields) > 0 {
		names := make([]Field, 0, len(e.Fields))
		for f := range e.Fields {
			names = append(names, f)
		}
		slices.Sort(names)
		for i, f := range names {
			b = append(b, [...]string{`,"f":{`, `,`}[min(i, 1)]...)
			b = append(appendString(b, string(f)), ':')
			b = strconv.AppendInt(b, int64(e.Fields[f]), 10)
		}
		b = append(b, '}')
	}
	if len(e.Entries) > 0 {
		for i, entry := range e.Entries {
			b = append(b, [...]string{`,"e":[`, `,`}[min(i, 1)]...)
			b = strconv.AppendInt(append(b, `{"t":`...), int64(entry.Term), 10)
			b = appendString(append(b, `,"c":`...), entry.Command)
			b = append(appendUnsigned(b, `,"call":`, entry.Call), '}')
		}
		b = append(b, ']')
	}
	if len(e.Data) > 0 {
		b = append(b, `,"d":"`...)
		b = append(base64.StdEncoding.AppendEncode(b, e.Data), '"')
	}
	return b
}

func appendNumber(b []byte, name string, n int64) []byte {
	if n == 0 {
		return b
	}
	return strconv.AppendInt(append(b, name...), n, 10)
}

func appendUnsigned(b []byte, name string, n uint64) []byte {
	if n == 0 {
		return b
	}
	return strconv.AppendUint(append(b, name...), n, 10)
}

func appendTrue(b []byte, text string, is bool) []byte {
	if is {
		return append(b, text...)
	}
	return b
}

func appendText(b []byte, name, s string) []byte {
	if s == "" {
		return b
	}
	return appendString(append(b, name...), s)
}

const hexDigits = "0123456789abcdef"

// appendString appends a string of JSON.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', byte(c))
		case c < ' ':
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		default:
			b = utf8.AppendRune(b, c)
		}
	}
	return append(b, '"')
}
