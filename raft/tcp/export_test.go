package tcp

// Frame makes a frame of any type.
func Frame(frameType byte, payload []byte) []byte {
	frame := make([]byte, headerBytes, headerBytes+len(payload))
	putHeader(frame, frameType, len(payload), checksum(frameType, payload))
	return append(frame, payload...)
}
