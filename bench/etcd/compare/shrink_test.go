package compare

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// shrinkTime bounds the search for shorter sequences.
const shrinkTime = 10 * time.Second

// shrink returns the shortest sequence found that still differs: without requests, and
// then without parts of messages.
func (p *pair) shrink(d *difference) *difference {
	began := time.Now()
	for size := len(d.requests) / 2; size > 0; size /= 2 {
		for from := len(d.requests) - size; from >= 0; from -= size {
			if from+size > len(d.requests) || time.Since(began) > shrinkTime {
				continue
			}
			shorter := slices.Delete(slices.Clone(d.requests), from, from+size)
			if found := p.run(shorter); found != nil {
				d = found
			}
		}
	}
	for i := 0; i < len(d.requests) && time.Since(began) < shrinkTime; i++ {
		d = p.simplify(d, i)
	}
	return d
}

// simplify clears parts of a request's message, as long as the answers differ.
func (p *pair) simplify(d *difference, i int) *difference {
	for again := true; again; {
		again = false
		if i >= len(d.requests) || d.requests[i].message() == nil {
			return d
		}
		for _, m := range simpler(d.requests[i].message()) {
			changed := slices.Clone(d.requests)
			changed[i] = changed[i].with(m)
			if found := p.run(changed); found != nil {
				d, again = found, true
				break
			}
		}
	}
	return d
}

// simpler returns the message without each of its fields and elements.
func simpler(m proto.Message) (all []proto.Message) {
	whole := m.ProtoReflect()
	with := func(field protoreflect.FieldDescriptor, change func(to protoreflect.Message)) {
		c := proto.Clone(m)
		change(c.ProtoReflect())
		all = append(all, c)
	}
	whole.Range(func(field protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if field.ContainingOneof() == nil {
			with(field, func(to protoreflect.Message) { to.Clear(field) })
		}
		switch {
		case field.IsList():
			for i := range v.List().Len() {
				with(field, func(to protoreflect.Message) {
					kept := to.NewField(field).List()
					for j := range v.List().Len() {
						if j != i {
							kept.Append(to.Get(field).List().Get(j))
						}
					}
					to.Set(field, protoreflect.ValueOfList(kept))
				})
				if field.Kind() != protoreflect.MessageKind {
					continue
				}
				for _, part := range simpler(v.List().Get(i).Message().Interface()) {
					with(field, func(to protoreflect.Message) {
						to.Mutable(field).List().Set(i, protoreflect.ValueOfMessage(part.ProtoReflect()))
					})
				}
			}
		case field.Kind() == protoreflect.MessageKind:
			for _, part := range simpler(v.Message().Interface()) {
				with(field, func(to protoreflect.Message) { to.Set(field, protoreflect.ValueOfMessage(part.ProtoReflect())) })
			}
		}
		return true
	})
	return all
}
