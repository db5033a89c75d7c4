package kernel

// Numbers of Linux on amd64.
const (
	sysREAD        = 0
	sysWRITE       = 1
	sysCLOSE       = 3
	sysFSTAT       = 5
	sysLSEEK       = 8
	sysIOCTL       = 16
	sysREADV       = 19
	sysWRITEV      = 20
	sysDUP         = 32
	sysGETPID      = 39
	sysGETUID      = 102
	sysGETGID      = 104
	sysSOCKET      = 41
	sysCONNECT     = 42
	sysSENDTO      = 44
	sysRECVFROM    = 45
	sysSENDMSG     = 46
	sysRECVMSG     = 47
	sysSHUTDOWN    = 48
	sysBIND        = 49
	sysLISTEN      = 50
	sysGETSOCKNAME = 51
	sysGETPEERNAME = 52
	sysSOCKETPAIR  = 53
	sysSETSOCKOPT  = 54
	sysGETSOCKOPT  = 55
	sysFCNTL       = 72
	sysUNAME       = 63
	sysDUP3        = 292
	sysACCEPT4     = 288
	sysRECVMMSG    = 299
	sysSENDMMSG    = 307

	eBADF         = 9
	eAGAIN        = 11
	eINVAL        = 22
	eMFILE        = 24
	eDEADLK       = 35
	eNOTTY        = 25
	eSPIPE        = 29
	ePIPE         = 32
	eNOENT        = 2
	eDESTADDRREQ  = 89
	eMSGSIZE      = 90
	ePROTOTYPE    = 91
	eNOPROTOOPT   = 92
	ePROTONOSUPP  = 93
	eOPNOTSUPP    = 95
	eAFNOSUPP     = 97
	eADDRINUSE    = 98
	eADDRNOTAVAIL = 99
	eNETUNREACH   = 101
	eCONNRESET    = 104
	eNOBUFS       = 105
	eISCONN       = 106
	eNOTCONN      = 107
	eTIMEDOUT     = 110
	eCONNREFUSED  = 111
	eALREADY      = 114
	eINPROGRESS   = 115

	fDUPFD        = 0
	fGETFD        = 1
	fSETFD        = 2
	fGETFL        = 3
	fSETFL        = 4
	fDUPFDCLOEXEC = 1030
	oNONBLOCK     = 0x800
	oRDONLY       = 0
	oWRONLY       = 1
	oRDWR         = 2
	sIFSOCK       = 0xc000
	sizeofStat    = 144

	afUNIX       = 1
	afINET       = 2
	afINET6      = 10
	sockSTREAM   = 1
	sockDGRAM    = 2
	sockNONBLOCK = 0x800

	solSOCKET   = 1
	soREUSEADDR = 2
	soTYPE      = 3
	soERROR     = 4
	soSNDBUF    = 7
	soRCVBUF    = 8
	soKEEPALIVE = 9
	soLINGER    = 13
	soREUSEPORT = 15
	soPEERCRED  = 17
	soRCVTIMEO  = 20
	soSNDTIMEO  = 21
	soACCEPTCON = 30
	soPROTOCOL  = 38
	soDOMAIN    = 39
	ipprotoTCP  = 6
	ipprotoUDP  = 17
	ipprotoIPV6 = 41
	ipv6V6ONLY  = 26
	tcpKEEPIDLE = 4
	tcpKEEPINTV = 5
	tcpKEEPCNT  = 6
	tcpINFO     = 11
	tcpUSERTIME = 18

	msgPEEK     = 2
	msgTRUNC    = 0x20
	msgDONTWAIT = 0x40

	ioINQ  = 0x541b // FIONREAD
	ioOUTQ = 0x5411 // SIOCOUTQ
	ioNBIO = 0x5421 // FIONBIO
)

// Durations in ns.
const (
	micro  = 1000
	milli  = 1000 * micro
	second = 1000 * milli
)
