package history

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// number returns a form that depends only on the value of a JSON number, so 1, 1.0 and
// 10e-1 are equal. The form keeps all digits.
func number(text string) (json.Number, error) {
	rest, negative := strings.CutPrefix(text, "-")
	mantissa, exponent, _ := strings.Cut(strings.ToLower(rest), "e")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	if digits == "" {
		return "0", nil
	}
	// The value is 0.digits times ten to the power of point.
	point, err := strconv.ParseInt(exponent, 10, 32)
	if err != nil && exponent != "" {
		return "", fmt.Errorf("number %s: the exponent is out of range", text)
	}
	point += int64(len(digits) - len(fraction))
	digits = strings.TrimRight(digits, "0")
	form := decimal(digits, point)
	if negative {
		form = "-" + form
	}
	return json.Number(form), nil
}

// decimal writes 0.digits times ten to the power of point.
func decimal(digits string, point int64) string {
	const least, most = -6, 21
	n := int64(len(digits))
	switch {
	case point <= least || point > most:
		form := digits[:1]
		if n > 1 {
			form += "." + digits[1:]
		}
		return fmt.Sprintf("%se%d", form, point-1)
	case point <= 0:
		return "0." + strings.Repeat("0", int(-point)) + digits
	case point >= n:
		return digits + strings.Repeat("0", int(point-n))
	}
	return digits[:point] + "." + digits[point:]
}
