package bench

import (
	"reflect"
	"testing"

	original "github.com/anishathalye/porcupine"

	"raftlab/porcupine"
)

// TestSameFields compares the exported types of the two packages field by field. Ours must have all
// fields of the original and may have more.
func TestSameFields(t *testing.T) {
	for _, pair := range [][2]any{
		{original.Operation{}, porcupine.Operation{}},
		{original.Event{}, porcupine.Event{}},
		{original.Model{}, porcupine.Model{}},
		{original.NondeterministicModel{}, porcupine.NondeterministicModel{}},
		{original.Annotation{}, porcupine.Annotation{}},
		{original.LinearizationInfo{}, porcupine.LinearizationInfo{}},
		{original.CallEvent, porcupine.CallEvent},
		{original.Ok, porcupine.Ok},
	} {
		theirs, ours := reflect.TypeOf(pair[0]), reflect.TypeOf(pair[1])
		if theirs.Kind() != ours.Kind() || theirs.Name() != ours.Name() {
			t.Errorf("%v is not like %v", ours, theirs)
			continue
		}
		for i := range max(0, fields(theirs)) {
			field := theirs.Field(i)
			if !field.IsExported() {
				continue
			}
			mine, ok := ours.FieldByName(field.Name)
			if !ok || plain(mine.Type) != plain(field.Type) {
				t.Errorf("%v.%s is %v, want %v", ours, field.Name, mine.Type, field.Type)
			}
		}
		for i := range reflect.PointerTo(theirs).NumMethod() {
			name := reflect.PointerTo(theirs).Method(i).Name
			if _, ok := reflect.PointerTo(ours).MethodByName(name); !ok {
				t.Errorf("%v lacks method %s", ours, name)
			}
		}
	}
}

func fields(t reflect.Type) int {
	if t.Kind() != reflect.Struct {
		return 0
	}
	return t.NumField()
}

// plain returns the name of a type. Types of the two packages have equal names.
func plain(t reflect.Type) string { return t.String() }

// TestSameFunctions compares the parameters and results of the functions of the two packages. The
// packages have one name, so equal types have equal names.
func TestSameFunctions(t *testing.T) {
	for _, pair := range [][2]any{
		{original.CheckOperations, porcupine.CheckOperations},
		{original.CheckOperationsTimeout, porcupine.CheckOperationsTimeout},
		{original.CheckOperationsVerbose, porcupine.CheckOperationsVerbose},
		{original.CheckEvents, porcupine.CheckEvents},
		{original.CheckEventsTimeout, porcupine.CheckEventsTimeout},
		{original.CheckEventsVerbose, porcupine.CheckEventsVerbose},
		{original.Visualize, porcupine.Visualize},
		{original.VisualizePath, porcupine.VisualizePath},
		{(*original.NondeterministicModel).ToModel, (*porcupine.NondeterministicModel).ToModel},
		{(*original.LinearizationInfo).AddAnnotations, (*porcupine.LinearizationInfo).AddAnnotations},
		{(*original.LinearizationInfo).PartialLinearizations, (*porcupine.LinearizationInfo).PartialLinearizations},
		{(*original.LinearizationInfo).PartialLinearizationsOperations, (*porcupine.LinearizationInfo).PartialLinearizationsOperations},
	} {
		if theirs, ours := plain(reflect.TypeOf(pair[0])), plain(reflect.TypeOf(pair[1])); theirs != ours {
			t.Errorf("%s, want %s", ours, theirs)
		}
	}
}
