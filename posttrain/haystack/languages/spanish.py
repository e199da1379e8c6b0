"""Spanish. Colours do not change with the gender of a thing, and things bring their article along."""

from posttrain.haystack.languages._language import Language, listed

SPANISH = Language(
    times=listed(
        "temprano por la mañana / después de la lluvia / el día de mercado / mucho antes de la cosecha / "
        "hacia el anochecer / en primavera / cuando ya habían sonado las campanas / el primer día de la feria / "
        "durante el largo invierno / al mediodía / antes de la tormenta / mientras los demás dormían / "
        "al fundirse la nieve / aquella noche / cada otoño / de camino a casa"
    ),
    actors=listed(
        "el panadero / un viejo marinero / la hermana mayor / el hijo del molinero / una costurera / alguien / "
        "la maestra / un joven pastor / la mujer del paraguas verde / un pescador / la niña del valle / "
        "el guardián del faro / mi abuela / un forastero callado / el carpintero / su vecina"
    ),
    deeds=listed(
        "llevó una cesta de peras / arregló la puerta de madera / contó una historia del mar / esperó la barca / "
        "cantó / escribió una larga carta a un amigo / plantó una fila de cerezos / contó los barcos que volvían / "
        "buscó un perro perdido / tomó té y habló del tiempo / pintó la puerta de azul / leyó el periódico / "
        "vendió pan, queso y un poco de miel / escuchó el viento / reparó un reloj antiguo / "
        "dio de comer a los gansos"
    ),
    places=listed(
        "junto al río / detrás de la iglesia / en la calle estrecha / al pie de la colina / bajo el puente / "
        "cerca del viejo molino / en el tejado / delante de la escuela / al borde del bosque / en el jardín / "
        "no lejos del puerto / en una casa sin ventanas / al lado del pozo / entre las dos puertas / en la estación"
    ),
    sentences=("{time}, {actor} {deed} {place}.", "{actor} {deed} {place} {time}.", "{place}, {actor} {deed} {time}."),
    colours=listed("azul / verde / gris / marrón / naranja / violeta / rosa / celeste / granate / turquesa"),
    things=listed(
        "de la caja / de la lámpara / del cofre / de la bolsa / del barril / del tarro / del cajón / del baúl / "
        "de la botella / del estuche / de la cesta / de la taza / del reloj / del libro / del abrigo / de la silla / "
        "del estante / del anillo / de la campana / de la bandera / del sombrero / del cuchillo / de la cuchara / "
        "del espejo"
    ),
    key="{thing} {colour}",
    code="El código {key} es {code}.",
    ask_code="¿Cuál es el código {key}?",
    codes="Los códigos {key} son {codes}.",
    ask_codes="¿Cuáles son todos los códigos {key}?",
    ask_keys="¿Cuáles son los códigos {keys}?",
    between_keys=" y ",
    variable="La variable {name} vale {value}.",
    copy="La variable {name} vale lo mismo que {other}.",
    ask_variables="¿Qué variables valen {value}?",
    variables="Las variables que valen {value} son {names}.",
    words=listed(
        "abeja / abrigo / aceite / águila / ajedrez / almendra / alfombra / anillo / arena / avena / azúcar / "
        "ballena / bandera / barco / bosque / botella / brújula / caballo / camello / camisa / campana / canela / "
        "cangrejo / castillo / cebolla / cebra / cereza / ciruela / cocina / cometa / conejo / corcho / cuchara / "
        "delfín / desierto / dragón / durazno / escalera / espejo / espiga / estrella / farol / fresa / fuente / "
        "gacela / ganso / garbanzo / girasol / guitarra / helado / hierro / hormiga / isla / jardín / jarra / "
        "jirafa / lagarto / lámpara / lenteja / libro / limón / linterna / lluvia / lobo / luciérnaga / maleta / "
        "mantel / manzana / mariposa / martillo / medusa / mercado / molino / montaña / mosca / naranja / nieve / "
        "nube / olivo / oveja / paloma / papel / pelota / pepino / perla / piano / pimienta / pingüino / planeta / "
        "pluma / pozo / puente / queso / ratón / reloj / rosal / sandía / semilla / serpiente / sombrero / tambor / "
        "tejado / tigre / tortuga / trigo / tulipán / uva / vaca / ventana / violín / volcán / zapato / zorro"
    ),
    ask_words="¿Cuáles son las {count} palabras más frecuentes de esta lista?",
    frequent="Las palabras más frecuentes son {words}.",
    given=listed(
        "Alba / Andrés / Beatriz / Bruno / Carmen / Diego / Elena / Emilio / Fátima / Gonzalo / Inés / Jaime / "
        "Julia / Leandro / Lucía / Mateo / Nuria / Óscar / Pilar / Ramiro / Sara / Tomás / Valeria / Vicente"
    ),
    family=listed(
        "Aguilar / Blanco / Cabrera / Delgado / Escobar / Fuentes / Gallego / Herrera / Ibáñez / Jurado / Lozano / "
        "Medina / Navarro / Ortega / Pacheco / Quintana / Robles / Salinas / Tejada / Urrutia / Vargas / Villar / "
        "Zamora / Zúñiga"
    ),
    person="{given} {family}",
    facts=(
        ("{person} vive en {town}.", "¿En qué ciudad vive {person}?"),
        ("{person} nació en {town}.", "¿En qué ciudad nació {person}?"),
        ("{person} trabaja en {town}.", "¿En qué ciudad trabaja {person}?"),
        ("{person} estudió en {town}.", "¿En qué ciudad estudió {person}?"),
    ),
    towns=listed(
        "Albacete / Alicante / Ávila / Badajoz / Bilbao / Burgos / Cáceres / Cádiz / Castellón / Ceuta / Córdoba / "
        "Cuenca / Elche / Gerona / Gijón / Granada / Guadalajara / Huelva / Huesca / Jaén / Lérida / Logroño / "
        "Lugo / Málaga / Melilla / Mérida / Murcia / Orense / Oviedo / Palencia / Pamplona / Salamanca / Segovia / "
        "Sevilla / Soria / Tarragona / Teruel / Toledo / Valladolid / Zaragoza"
    ),
)
