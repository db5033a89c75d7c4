package compare

import (
	"math"
	"regexp"
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// The two servers choose some numbers on their own. A request has symbols in their place,
// which are replaced when the request is sent.
const (
	revisionSymbol = int64(1) << 50 // and more: a revision relative to the sequence's begin
	leaseSymbol    = int64(1) << 51 // and more: a lease whose id the server chose
	memberSymbol   = int64(1) << 52 // the member's id
	symbolRange    = 1 << 20
)

// printer prints requests. No number of a request is one of an answer.
var printer = &side{base: 1 << 60}

// at is the symbol of a revision, n after the begin of the sequence.
func at(n int64) int64 { return revisionSymbol + n }

func within(n, symbol int64) bool { return n > symbol-symbolRange && n < symbol+symbolRange }

// number returns the number of a symbol, or n itself.
func (s *side) number(n int64) int64 {
	switch {
	case within(n, revisionSymbol):
		return s.base + n - revisionSymbol
	case within(n, leaseSymbol) && n >= leaseSymbol:
		if i := int(n - leaseSymbol); i < len(s.granted) {
			return s.granted[i]
		}
		return n
	case n == memberSymbol:
		return int64(s.member)
	}
	return n
}

// symbol returns the name of a number in a request or an answer.
func symbol(n int64) string {
	switch {
	case within(n, revisionSymbol):
		return "begin" + signed(n-revisionSymbol)
	case within(n, leaseSymbol) && n >= leaseSymbol:
		return "lease" + strconv.FormatInt(n-leaseSymbol, 10)
	case n == memberSymbol:
		return "member"
	case n == math.MaxInt64:
		return "max"
	case n == math.MinInt64:
		return "min"
	}
	return strconv.FormatInt(n, 10)
}

func signed(n int64) string {
	if n < 0 {
		return strconv.FormatInt(n, 10)
	}
	return "+" + strconv.FormatInt(n, 10)
}

// resolve returns a message without symbols.
func (s *side) resolve(m proto.Message) proto.Message {
	m = proto.Clone(m)
	s.resolveIn(m.ProtoReflect())
	return m
}

func (s *side) resolveIn(m protoreflect.Message) {
	m.Range(func(field protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case field.Kind() == protoreflect.MessageKind && field.IsList():
			for i := range v.List().Len() {
				s.resolveIn(v.List().Get(i).Message())
			}
		case field.Kind() == protoreflect.MessageKind:
			s.resolveIn(v.Message())
		case field.IsList():
		case field.Kind() == protoreflect.Int64Kind:
			m.Set(field, protoreflect.ValueOfInt64(s.number(v.Int())))
		case field.Kind() == protoreflect.Uint64Kind:
			m.Set(field, protoreflect.ValueOfUint64(uint64(s.number(int64(v.Uint())))))
		}
		return true
	})
}

var digits = regexp.MustCompile(`\d{16,}`)

// resolveText returns JSON without symbols.
func (s *side) resolveText(text string) string {
	return digits.ReplaceAllStringFunc(text, func(d string) string {
		n, err := strconv.ParseInt(d, 10, 64)
		if err != nil {
			return d
		}
		if n == memberSymbol {
			return strconv.FormatUint(s.member, 10)
		}
		return strconv.FormatInt(s.number(n), 10)
	})
}

// revision returns a revision of an answer as a symbol, if the revision is of the sequence.
func (s *side) revision(n int64) int64 {
	if n >= s.base-100 && n < s.base+symbolRange {
		return at(n - s.base)
	}
	return n
}

// lease returns a lease of an answer as a symbol, if the server chose the id.
func (s *side) lease(id int64) int64 {
	if i := slices.Index(s.granted, id); i >= 0 {
		return leaseSymbol + int64(i)
	}
	return id
}
