//go:build !wasip1

package handler

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDecodeStrict(t *testing.T) {
	const put = `{"success":[{"put":{"key":"a","value":"x"}}]}`
	for _, tt := range []struct {
		name, body string
		wrong      string // a part of the error; "": none
	}{
		{"plain", put, ""},
		{"white space", " {\t\"success\" : [\r\n{ \"put\":{\"key\" :\"a\",\"value\":\"x\" } } ] } \n", ""},
		{"empty arrays", `{"compare":[],"success":[ ]}`, ""},
		{"empty object", `{}`, ""},
		{"escapes", `{"success":[{"put":{"key":"\"\\\u00e9\n","value":"\ud83d\ude00"}}]}`, ""},
		{"U+FFFD itself", `{"success":[{"put":{"key":"` + "\uFFFD" + `","value":"\ufffd"}}]}`, ""},
		{"largest version", `{"compare":[{"key":"a","version":18446744073709551615}]}`, ""},
		{"nothing", ``, "unexpected end of JSON input"},
		{"cut", `{"success":[`, "byte 12: unexpected end of JSON input"},
		{"not JSON", `{success}`, "byte 2: invalid character 's'"},
		{"two values", put + ` {}`, "after top-level value"},
		{"text behind", put + `x`, "after top-level value"},
		{"an array", `[]`, "an array; want an object"},
		{"null", `null`, "null; want an object"},
		{"null inside", `{"success":null}`, "success: null; want an array"},
		{"not UTF-8", "{\"success\":[{\"put\":{\"key\":\"\xff\",\"value\":\"x\"}}]}", "byte 27 is not UTF-8"},
		{"not UTF-8 behind U+FFFD", "{\"success\":[{\"put\":{\"key\":\"\uFFFD\xfe\",\"value\":\"x\"}}]}", "byte 30 is not UTF-8"},
		{"first half of a pair", `{"success":[{"put":{"key":"\ud800","value":"x"}}]}`, `success[0].put.key: \ud800 is half of a surrogate pair`},
		{"second half", `{"success":[{"put":{"key":"a","value":"\udc00"}}]}`, `success[0].put.value: \udc00 is half`},
		{"two first halves", `{"success":[{"put":{"key":"\ud800\ud800","value":"x"}}]}`, `is half`},
		{"half and text", `{"success":[{"put":{"key":"\ud800x","value":"x"}}]}`, `is half`},
		{"half in a name", `{"\ud800":[]}`, `is half`},
		{"another case", `{"Success":[]}`, `there is no field "Success"`},
		{"a letter that folds", `{"ſuccess":[]}`, `there is no field "ſuccess"`},
		{"another case inside", `{"success":[{"PUT":{"key":"a","value":"x"}}]}`, `success[0]: there is no field "PUT"`},
		{"unknown", `{"success":[{"put":{"key":"a","valeu":"x"}}]}`, `success[0].put: there is no field "valeu"`},
		{"twice", `{"success":[],"success":[]}`, `the field "success" is given twice`},
		{"twice, one escaped", `{"success":[],"\u0073uccess":[]}`, `the field "success" is given twice`},
		{"a string for a number", `{"compare":[{"key":"a","version":"1"}]}`, `compare[0].version: a string; want a number`},
		{"a number for a string", `{"compare":[{"key":1}]}`, `compare[0].key: a number; want a string`},
		{"an object for a string", `{"compare":[{"key":{}}]}`, `compare[0].key: an object; want a string`},
		{"a boolean", `{"compare":[{"key":true}]}`, `compare[0].key: true or false; want a string`},
		{"negative", `{"compare":[{"key":"a","version":-1}]}`, "-1 is not a whole number"},
		{"a fraction", `{"compare":[{"key":"a","version":1.0}]}`, "1.0 is not a whole number"},
		{"too large", `{"compare":[{"key":"a","version":18446744073709551616}]}`, "18446744073709551616 is not a whole number"},
		{"deep", strings.Repeat("[", 20000), "exceeded max depth"},
	} {
		var got, want txn
		err := decodeStrict(tt.body, &got)
		if tt.wrong != "" {
			require.ErrorContains(t, err, tt.wrong, tt.name)
			continue
		}
		require.NoError(t, err, tt.name)
		require.NoError(t, json.Unmarshal([]byte(tt.body), &want))
		require.Equal(t, want, got, tt.name)
	}
}

// FuzzDecodeStrict: no body panics, and a body that is taken means the same to
// encoding/json.
func FuzzDecodeStrict(f *testing.F) {
	f.Add(`{"success":[{"put":{"key":"a","value":"\ud83d\ude00"}}],"compare":[{"key_base64":"YQ==","version":7}]}`)
	f.Add(`{"failure":[{"get":{"key":"\ud800"}}]} `)
	f.Fuzz(func(t *testing.T, body string) {
		var got, want txn
		if decodeStrict(body, &got) != nil {
			return
		}
		require.NoError(t, json.Unmarshal([]byte(body), &want))
		require.Equal(t, want, got)
	})
}
